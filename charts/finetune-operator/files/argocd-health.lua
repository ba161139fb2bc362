-- Health of a FineTuneJob for Argo CD: resource.customizations.health.finetune.dev_FineTuneJob
local health = {status = "Progressing", message = "the operator has not seen this job yet"}
local status = obj.status
if status == nil or status.conditions == nil then
  return health
end
if status.observedGeneration ~= obj.metadata.generation then
  health.message = "the operator has not seen this change yet"
  return health
end
local found = {}
for _, condition in ipairs(status.conditions) do
  found[condition.type] = condition
end
local function is_true(name)
  return found[name] ~= nil and found[name].status == "True"
end
local function told(name)
  return found[name].reason .. ": " .. (found[name].message or "")
end
if is_true("Failed") then
  return {status = "Degraded", message = told("Failed")}
end
if is_true("Stalled") then
  return {status = "Degraded", message = told("Stalled")}
end
if is_true("Complete") then
  return {status = "Healthy", message = told("Complete")}
end
if is_true("Suspended") then
  return {status = "Suspended", message = told("Suspended")}
end
health.message = status.phase or "Pending"
if status.progress ~= nil and status.phase == "Running" then
  health.message = status.progress.stage .. ", " .. (status.progress.percent or 0) .. " %"
elseif found["Reconciling"] ~= nil then
  health.message = told("Reconciling")
end
return health
