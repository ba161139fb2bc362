"""Version of the trainer; its minor part belongs to the recipe hash."""

TRAINER_VERSION = "0.1.0"
