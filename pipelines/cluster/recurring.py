"""Schedules: recurring runs of the loop that end at once unless prompts or base model changed.

A schedule's pipeline begins with a check of its inputs (`components/watch`): one small pod without
a GPU. If it finds nothing new, only the exit task still runs.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Any, NamedTuple

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.retry import retry, unavailable
from lidr.components.shared.core.text import one_line
from lidr.pipelines.cluster import runs
from lidr.pipelines.cluster.client import Client, name_filter
from lidr.pipelines.cluster.pipelines import Package, find_version
from lidr.pipelines.cluster.submit import (
    SETTLING_SECONDS,
    Submission,
    require_reachable,
    require_same_stamp,
    upload_for_run,
)
from lidr.pipelines.stamp import description_of

_UNITS = {"m": 60, "h": 3600, "d": 86400}
_INTERVAL = re.compile(r"([1-9][0-9]{0,5})([mhd])")
_SECONDS = re.compile(r"[0-9]{1,12}")
_CRON_ITEM = re.compile(
    r"(?:[*?]|([0-9]{1,2}|[a-z]{3})(?:-([0-9]{1,2}|[a-z]{3}))?)(?:/0*[1-9][0-9]{0,3})?"
)
"""A list item of a field, in lower case: `*`, `5`, `1-5` or `mon-fri`, with or without a step."""


class _CronField(NamedTuple):
    """What one field of a cron line may hold.

    Attributes:
        low: its lowest number.
        high: its highest number.
        names: names of its numbers, in lower case, the lowest first; "" if it has none.
    """

    low: int
    high: int
    names: str = ""

    def accepts(self, text: str) -> bool:
        """Return whether a text is a list of its numbers, ranges and steps."""
        for item in text.lower().split(","):
            found = _CRON_ITEM.fullmatch(item)
            numbers = [self._number(word) for word in found.groups() if word] if found else [-1]
            if numbers != sorted(numbers) or not all(self.low <= n <= self.high for n in numbers):
                return False
        return True

    def _number(self, word: str) -> int:
        if word.isdigit():
            return int(word)
        names = self.names.split()
        return self.low + names.index(word) if word in names else -1


_CRON_FIELDS = (
    _CronField(0, 59),
    _CronField(0, 59),
    _CronField(0, 23),
    _CronField(1, 31),
    _CronField(1, 12, "jan feb mar apr may jun jul aug sep oct nov dec"),
    _CronField(0, 6, "sun mon tue wed thu fri sat"),
)
"""Second, minute, hour, day, month and weekday, as Kubeflow reads them (robfig/cron 1.2)."""


@dataclass(frozen=True)
class Recurrence:
    """How often a schedule checks its inputs.

    Attributes:
        seconds: between two checks; 0 if `cron` is given.
        cron: six fields, seconds first, as Kubeflow expects; "" if `seconds` is given.
    """

    seconds: int = 0
    cron: str = ""

    @classmethod
    def parse(cls, text: str) -> Recurrence:
        """Read `30m`, `6h`, `1d` or a cron line of five or six fields.

        Raises:
            BadInput: it is neither.
        """
        if found := _INTERVAL.fullmatch(text.strip()):
            return cls(seconds=int(found[1]) * _UNITS[found[2]])
        fields = text.split()
        if len(fields) == 5:
            fields.insert(0, "0")
        if len(fields) == 6 and all(map(_CronField.accepts, _CRON_FIELDS, fields)):
            return cls(cron=" ".join(fields))
        raise BadInput(
            f"--every {text!r} is neither an interval nor a cron line",
            remedy="Write 30m, 6h, 1d or e.g. '0 3 * * 0' (weekdays are 0 to 6 from Sunday).",
        )

    def trigger(self) -> Any:
        """Return it as Kubeflow's `V2beta1Trigger`."""
        import kfp_server_api as api

        if self.cron:
            return api.V2beta1Trigger(cron_schedule=api.V2beta1CronSchedule(cron=self.cron))
        interval = api.V2beta1PeriodicSchedule(interval_second=str(self.seconds))
        return api.V2beta1Trigger(periodic_schedule=interval)

    @classmethod
    def of(cls, trigger: Any) -> Recurrence:
        """Read Kubeflow's `V2beta1Trigger`; None gives a `Recurrence` with neither field set.

        Raises:
            BadInput: its interval is not a number of seconds.
        """
        if trigger is None:
            return cls()
        if trigger.cron_schedule and trigger.cron_schedule.cron:
            return cls(cron=trigger.cron_schedule.cron)
        periodic = trigger.periodic_schedule
        seconds = str(periodic.interval_second or 0) if periodic else "0"
        if not _SECONDS.fullmatch(seconds):
            raise BadInput(
                f"Kubeflow says that a schedule's interval is {one_line(seconds)[:40]!r} seconds",
                remedy="Delete that schedule in Kubeflow's user interface.",
            )
        return cls(seconds=int(seconds))

    def __str__(self) -> str:
        return f"at {self.cron}" if self.cron else f"every {self.seconds} s"


def package_of(submission: Submission) -> Package:
    """Return the pipeline of a schedule, under another name than that of ordinary runs."""
    description = description_of(submission.recipe)
    return Package(f"lidr-{submission.recipe.name}-watch", submission.text, description)


def schedule(client: Client, submission: Submission, when: Recurrence, *, dry: bool = False) -> str:
    """Create a schedule, or find the one of that name.

    Args:
        submission: what to run; its pipeline was compiled with `watching`.
        when: how often to check the inputs.
        dry: check only, create nothing.

    Returns:
        The schedule's id; "" if `dry` and there is none yet.

    Raises:
        BadInput: a schedule of that name is switched off or does something else, or Kubeflow
            refuses.
    """
    require_reachable(submission.recipe, submission.profile)
    experiment = submission.profile.kubeflow.experiment
    found = list_schedules(client, experiment, submission.run)
    if found or dry:
        # Raises if pipelines may not be read.
        version = find_version(client, package_of(submission))
        for each in found:
            _require_same(each, submission, when, version)
        return str(found[0].recurring_run_id) if found else ""
    begun = time.monotonic()
    made = _create(client, submission, when)
    time.sleep(max(SETTLING_SECONDS, time.monotonic() - begun))  # as when a run is submitted
    listed = retry(
        lambda: list_schedules(client, experiment, submission.run), "Kubeflow", unavailable
    )
    first = listed[0] if listed else made  # none if somebody has just cancelled it
    if first.recurring_run_id != made.recurring_run_id:
        delete(client, made)
        _require_same(first, submission, when, find_version(client, package_of(submission)))
    return str(first.recurring_run_id)


def list_schedules(client: Client, experiment: str, name: str = "") -> list[Any]:
    """Return an experiment's schedules (`V2beta1RecurringRun`), oldest first.

    Args:
        experiment: name of the experiment.
        name: return only schedules of this name; "" for all.
    """
    identity = runs.experiment_id(client, experiment)
    if identity is None:
        return []
    listed = client.list_all(
        f"list the schedules of experiment {experiment!r}",
        "recurring_runs",
        client.recurring.recurring_run_service_list_recurring_runs,
        experiment_id=identity,
        **({"filter": name_filter(name)} if name else {}),
        **client.in_namespace,
    )
    return sorted(
        listed, key=lambda each: runs.creation_key(each.created_at, each.recurring_run_id)
    )


def disable(client: Client, found: Any) -> None:
    """Disable a schedule, so that it starts no more runs."""
    client.call(
        f"disable schedule {found.display_name!r}",
        client.recurring.recurring_run_service_disable_recurring_run,
        found.recurring_run_id,
    )


def delete(client: Client, found: Any) -> None:
    """Delete a schedule, if it is still there; Kubernetes then deletes its Workflows, too."""
    client.call_or_none(
        f"delete schedule {found.display_name!r}",
        client.recurring.recurring_run_service_delete_recurring_run,
        found.recurring_run_id,
    )


def _require_same(found: Any, submission: Submission, when: Recurrence, version: Any) -> None:
    """Refuse a schedule that does something else than what is submitted.

    Args:
        found: the schedule (`V2beta1RecurringRun`).
        submission: what is submitted.
        when: how often its inputs are to be checked.
        version: the uploaded pipeline version of the submission; None if there is none.

    Raises:
        BadInput: recipe, store, lidr, times, service account or pipeline differ, or it is switched
            off.
    """
    require_same_stamp(found, submission)
    name, cancel_first = submission.run, f"`lidr cancel {submission.run}` first"
    if found.status == "DISABLED":
        raise BadInput(f"schedule {name!r} is switched off", remedy=f"{cancel_first}.")
    if Recurrence.of(found.trigger) != when:
        raise BadInput(
            f"schedule {name!r} checks {Recurrence.of(found.trigger)}, not {when}",
            remedy=f"{cancel_first}, or choose another --run.",
        )
    account = submission.profile.service_account  # "" is Kubeflow's choice
    if account and found.service_account != account:
        raise BadInput(
            f"schedule {name!r} runs as {found.service_account!r}, not as {account!r}",
            remedy=f"{cancel_first}, or choose another --run.",
        )
    reference = found.pipeline_version_reference
    own = reference.pipeline_version_id if reference else None
    if version is None or own != version.pipeline_version_id:
        raise BadInput(
            f"schedule {name!r} runs another pipeline than recipe and profile give now",
            remedy=f"{cancel_first}, or choose another --run.",
        )


def _create(client: Client, submission: Submission, when: Recurrence) -> Any:
    import kfp_server_api as api

    body = api.V2beta1RecurringRun(
        **upload_for_run(client, submission, package_of(submission)),
        description=submission.stamp.text(),
        namespace=client.namespace or None,
        trigger=when.trigger(),
        mode=api.RecurringRunMode.ENABLE,
        max_concurrency="1",
        no_catchup=True,
    )
    return client.call(
        f"create schedule {submission.run!r}",
        client.recurring.recurring_run_service_create_recurring_run,
        body,
    )
