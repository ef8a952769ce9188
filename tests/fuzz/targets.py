"""All parsers of outside data, in one list."""

from tests.fuzz import answers, configuration, services, stored, tables

TARGETS = [
    *configuration.TARGETS,
    *tables.TARGETS,
    *answers.TARGETS,
    *stored.TARGETS,
    *services.TARGETS,
]
