"""The chat template for tokenizers that have none.

Headings of ordinary words, so that every marker is made of tokens the base model knows. An
answer ends with the tokenizer's end-of-sequence token. The template is published with the
result as chat_template.jinja, so that it is asked as it was taught.
"""

_BODY = """\
{%- if tools %}
{{- '### Tools:\\n' }}
{%- for tool in tools %}
{{- (tool | tojson) + '\\n' }}
{%- endfor %}
{{- '\\n' }}
{%- endif %}
{%- for message in messages %}
{%- if message['role'] == 'assistant' %}
{{- '### Response:\\n' }}
{%- generation %}
{{- message['content'] }}
{%- for call in message['tool_calls'] or [] %}
{{- call['function'] | tojson }}
{%- endfor %}
{{- eos_token or '' }}
{%- endgeneration %}
{%- elif message['role'] == 'user' %}
{{- '### Instruction:\\n' + message['content'] }}
{%- elif message['role'] == 'tool' %}
{{- '### Observation:\\n' + message['content'] }}
{%- else %}
{{- '### System:\\n' + message['content'] }}
{%- endif %}
{%- if not loop.last or add_generation_prompt %}
{{- '\\n\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '### Response:\\n' }}
{%- endif %}"""


def plain_template(*, begins_with_bos: bool) -> str:
    """The template; with the begin-of-sequence token where the tokenizer itself would add it."""
    return ("{{- bos_token }}\n" if begins_with_bos else "") + _BODY
