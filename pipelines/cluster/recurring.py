"""Schedules: recurring runs of the loop that end at once unless prompts or base model changed.

A schedule's pipeline begins with a check of its inputs (`components/watch`): one small pod without
a GPU. If it finds nothing new, no other step runs.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Any

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
_INTERVAL = re.compile(r"([1-9]\d{0,5})([mhd])")
_SECONDS = re.compile(r"[0-9]{1,12}")
_CRON_FIELD = re.compile(r"[\w*/,?#-]+")


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
        if len(fields) == 6 and all(_CRON_FIELD.fullmatch(field) for field in fields):
            return cls(cron=" ".join(fields))
        raise BadInput(
            f"--every {text!r} is neither an interval nor a cron line",
            remedy="Write 30m, 6h, 1d or e.g. '0 3 * * *'.",
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
        """Read Kubeflow's `V2beta1Trigger`; None gives an `Recurrence` with neither field set.

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
        BadInput: a schedule of that name does something else, or Kubeflow refuses.
    """
    require_reachable(submission.recipe, submission.profile)
    experiment = submission.profile.kubeflow.experiment
    found = list_schedules(client, experiment, submission.run)
    for each in found:
        require_same_stamp(each, submission)
        if Recurrence.of(each.trigger) != when:
            raise BadInput(
                f"schedule {submission.run!r} checks {Recurrence.of(each.trigger)}, not {when}",
                remedy=f"`lidr cancel {submission.run}` first, or choose another --run.",
            )
    if found or dry:
        if dry:
            find_version(client, package_of(submission))
        return str(found[0].recurring_run_id) if found else ""
    begun = time.monotonic()
    made = _create(client, submission, when)
    time.sleep(max(SETTLING_SECONDS, time.monotonic() - begun))  # as when a run is submitted
    first = retry(
        lambda: list_schedules(client, experiment, submission.run)[0], "Kubeflow", unavailable
    )
    if first.recurring_run_id != made.recurring_run_id:
        delete(client, made)
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
    return sorted(listed, key=lambda each: runs.age(each.created_at, each.recurring_run_id))


def disable(client: Client, found: Any) -> None:
    """Disable a schedule, so that it starts no more runs."""
    client.call(
        f"disable schedule {found.display_name!r}",
        client.recurring.recurring_run_service_disable_recurring_run,
        found.recurring_run_id,
    )


def delete(client: Client, found: Any) -> None:
    """Delete a schedule; Kubernetes then deletes its Workflows, running ones too."""
    client.call(
        f"delete schedule {found.display_name!r}",
        client.recurring.recurring_run_service_delete_recurring_run,
        found.recurring_run_id,
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
