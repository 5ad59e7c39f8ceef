"""Safeguards taken away one at a time, in the test only, and the world that shows what is lost without each.

`ABLATIONS` is the table of docs/guarantees.md: the rule that a safeguard holds, how it is taken away, the nemeses
under which that is missed, and in how many worlds. A change of the product makes all worlds others, so the known seed
is only where looking begins.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from rich.console import Console

from tests.simulation import removed
from tests.simulation.children import PORTION, apart
from tests.simulation.removed import Patch

SPAN: Final = 300
"""Seeds that are looked at before it is said that nobody misses a safeguard."""
ENOUGH: Final = 8
SINKS: Final[Mapping[str, Any]] = {
    "public": True,
    "mqtt": True,
    "projectors": 1,
    "effects": 1,
    "charges": 3,
    "readings": 12,
    "storm": 12.0,
    "pace": 0.3,
    "targets": ("mqtt",),
    "victims": ("effects",),
}
"""Worlds in which one of the sinks of effects falls behind the others."""
say = Console(soft_wrap=True, highlight=False, markup=False).print


@dataclass(frozen=True, slots=True)
class Ablation:
    """One safeguard. Without it something is lost in one of `one_in` worlds, first found at `seed`; None: in none.

    `also` are safeguards that stand in for it and are taken away with it. `shape` is what the worlds must have,
    beside what their seeds draw, so that this is often.
    """

    name: str
    rule: str
    removed: Callable[[], list[Patch]]
    faults: tuple[str, ...]
    shape: Mapping[str, Any] = field(default_factory=dict)
    also: tuple[Callable[[], list[Patch]], ...] = ()
    one_in: int | None = None
    seed: int | None = None


@contextlib.contextmanager
def without(ablation: Ablation) -> Iterator[None]:
    """Inside, this safeguard does not exist."""
    before: list[Patch] = []
    for take_away in (ablation.removed, *ablation.also):
        for owner, name, value in take_away():
            held = owner.__dict__[name] if isinstance(owner, type) else getattr(owner, name)
            before.append((owner, name, held))
            setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, value in reversed(before):
            setattr(owner, name, value)


_MONTHS: Final = {"months": True, "operators": True, "projectors": 1, "effects": 1, "charges": 1}

LISTENED: Final[Mapping[str, Any]] = {
    "public": True,
    "live": True,
    "projectors": 1,
    "effects": 1,
    "charges": 3,
    "readings": 8,
    "longest_calm": 60.0,
}
"""Worlds in which somebody listens to live streams."""

TOLD: Final[dict[str, Any]] = {
    "projectors": 1,
    "effects": 2,
    "charges": 3,
    "readings": 12,
    "storm": 60.0,
    "pace": 0.3,
    "victims": ("effects",),
}
"""Worlds with long charges that a partner is told of."""

BLOCKS: Final[Mapping[str, Any]] = {
    "frames": True,
    "readings": 8,
    "charges": 3,
    "pace": 0.2,
    "victims": ("projector",),
}
"""Worlds with many entries of blocks, whose projectors are harmed."""

SERVICES: Final[Mapping[str, Any]] = {"keys": 6, "victims": ("api",), "storm": 40.0, "pace": 0.4}
"""Worlds in which services show their keys at api processes that are harmed."""
CPOS: Final[Mapping[str, Any]] = {"foreign": 2, "projectors": 1, "effects": 1, "pace": 0.3}
"""Worlds with a CPO that pushes."""
HANDED_ON: Final[Mapping[str, Any]] = {
    **CPOS,
    "foreign": 8,
    "storm": 60.0,
    "pace": 0.5,
    "victims": ("effects",),
}
"""Worlds with a CPO that pushes much, where who hands that on is harmed."""
WISHES: Final[Mapping[str, Any]] = {"wishes": True, "longest_calm": 4000.0}
"""Worlds in which an operator wants variables and reservations."""
JOBS: Final[Mapping[str, Any]] = {"job": True, "pace": 0.2, "victims": ("decider",)}
"""Worlds with a job, whose deciders are harmed."""

ASKED: Final[Mapping[str, Any]] = {
    "asks": True,
    "projectors": 1,
    "effects": 1,
    "pace": 0.2,
    "victims": ("api",),
}
"""Worlds in which a partner's app asks for charges."""
PUSHES: Final[Mapping[str, Any]] = {"pushes": 14, "pace": 0.3, "victims": ("api", "decider")}
"""Worlds in which requests of a CPO overtake one another."""

ABLATIONS: tuple[Ablation, ...] = (
    Ablation(
        "no fence",
        "Stale deciders' records never count",
        removed.no_fence,
        ("zombie",),
        shape={"deciders": 2, "pace": 0.3, "lasting": 1.6},
        one_in=9,
        seed=1,
    ),
    Ablation(
        "any ack proves the fence",
        "A decision is answered only once it is proven that it counts",
        removed.acks_prove_whatever_their_offset,
        ("zombie", "members"),
        shape={
            "deciders": 2,
            "charges": 3,
            "storm": 10.0,
            "pace": 0.3,
            "lasting": 1.6,
            "victims": ("decider",),
        },
        one_in=4,
        seed=1,
    ),
    Ablation(
        "no new claim after a failed append",
        "An append of unknown outcome leads back to a claim",
        removed.no_new_claim_after_a_failure,
        ("weather",),
        one_in=3,
        seed=25,
    ),
    Ablation(
        "no fold up to the claim",
        "A decider decides on everything before its claim",
        removed.no_fold_up_to_the_claim,
        ("crash", "members"),
        one_in=2,
        seed=0,
    ),
    Ablation(
        "no command ids",
        "A repeat gets the first decision's reply",
        removed.no_command_ids,
        ("crash",),
        also=(removed.calls_are_not_known_by_their_ids,),
        shape={"operators": True, "pace": 0.3, "victims": ("decider",)},
        one_in=1,
        seed=0,
    ),
    Ablation(
        "decided offsets do not count",
        "A command at or below the highest decided offset was decided",
        removed.no_decided_offset,
        ("crash",),
        also=(removed.told_calls_have_no_number,),
        shape={"pace": 0.2, "victims": ("decider",)},
        one_in=1,
        seed=1,
    ),
    Ablation(
        "no replies after a claim",
        "Who takes a partition over answers what its holder had decided",
        removed.no_replies_after_a_claim,
        ("crash", "step", "weather"),
    ),
    Ablation(
        "compacted topics are read to an end of once",
        "What is written anew while it is read is not missed",
        removed.compacted_topics_are_read_to_an_end_of_once,
        ("compact", "weather", "members"),
        shape={"deciders": 2, "checkpoint_every": 0.3, "pace": 0.2, "lasting": 1.6},
    ),
    Ablation(
        "the mark before its states",
        "A checkpoint's mark stands behind its states",
        removed.mark_before_its_states,
        ("step",),
        shape={"checkpoint_every": 0.3, "pace": 0.2, "victims": ("decider",), "places": ("state",)},
        one_in=1,
        seed=0,
    ),
    Ablation(
        "states of whoever wrote last",
        "States of a decider that had lost the partition are not trusted",
        removed.states_of_whoever_wrote_last,
        ("zombie",),
        shape={
            "deciders": 2,
            "charge_points": 3,
            "readings": 12,
            "storm": 12.0,
            "checkpoint_every": 0.3,
            "pace": 0.3,
            "lasting": 1.6,
            "places": ("state",),
        },
        one_in=6,
        seed=14,
    ),
    Ablation(
        "an unreadable state is blank",
        "A state that cannot be read is folded from the log",
        removed.unreadable_state_is_a_blank_one,
        ("rust",),
        shape={"checkpoint_every": 0.5, "hot": 1, "pace": 0.3},
        one_in=4,
        seed=1,
    ),
    Ablation(
        "silence is the end",
        "A topic has been read when the reader's position says so",
        removed.silence_is_the_end,
        ("stall", "compact"),
        also=(removed.folds_take_any_version,),
        shape={
            "deciders": 1,
            "charge_points": 3,
            "charges": 4,
            "readings": 12,
            "storm": 20.0,
            "checkpoint_every": 1.0,
            "pace": 0.1,
            "lasting": 1.5,
            "places": ("state",),
            "times": 2,
            "whole_fetches": 0.05,
        },
        one_in=30,
        seed=16,
    ),
    Ablation(
        "a lost end is not looked for",
        "Commands count anew where their topic has lost its end",
        removed.a_lost_end_is_not_looked_for,
        ("power",),
        one_in=1,
        seed=1,
    ),
    Ablation(
        "nothing is sent again",
        "What processes had sent into a lost end is sent again",
        removed.nothing_is_sent_again,
        ("power", "crash"),
        shape={
            "deciders": 2,
            "charges": 4,
            "storm": 15.0,
            "pace": 0.3,
            "lasting": 0.6,
            "victims": ("decider",),
        },
        one_in=12,
        seed=64,
    ),
    Ablation(
        "going back is not seen",
        "A log that gives again what it gave has lost its end",
        removed.going_back_is_not_seen,
        ("power",),
        shape={"readings": 20, "storm": 10.0, "pace": 0.5},
        one_in=12,
        seed=14,
    ),
    Ablation(
        "timers are not asked again",
        "A timer that could not be told is told later",
        removed.timers_are_not_asked_again,
        ("full", "weather"),
        shape={
            "projectors": 1,
            "effects": 1,
            "charges": 3,
            "storm": 14.0,
            "pace": 0.2,
            "lasting": 2.0,
            "severity": 5.0,
            "targets": ("partner",),
        },
        one_in=10,
        seed=157,
    ),
    Ablation(
        "deadlines do not count",
        "What comes after its deadline is refused",
        removed.deadlines_do_not_count,
        ("down",),
        shape={"charges": 4, "storm": 12.0, "pace": 0.3, "lasting": 1.5, "targets": ("log",)},
        one_in=5,
        seed=7,
    ),
    Ablation(
        "clocks count to the millisecond",
        "Nobody who still waits is told that it is too late, whatever two clocks differ by",
        removed.clocks_count_to_the_millisecond,
        ("skew",),
        one_in=5,
        seed=2,
    ),
    Ablation(
        "caches outlive their partition",
        "What is known of a partition's documents ends with it",
        removed.caches_outlive_their_partition,
        ("members",),
        shape={
            "projectors": 1,
            "charges": 2,
            "readings": 30,
            "storm": 12.0,
            "pace": 0.3,
            "lasting": 0.7,
            "victims": ("projector",),
        },
        one_in=8,
        seed=4,
    ),
    Ablation(
        "what was not written stays cached",
        "A write that was not made is forgotten",
        removed.what_was_not_written_stays_in_the_cache,
        ("weather",),
        shape={"projectors": 1, "pace": 0.4, "severity": 3.0, "targets": ("store",), "longest_calm": 100.0},
        one_in=4,
        seed=1,
    ),
    Ablation(
        "a write broken off is believed",
        "A write under way when its partition is lost is made by whoever gets it",
        removed.a_write_broken_off_is_believed,
        ("down", "members"),
        shape={"projectors": 1, "pace": 0.3, "victims": ("projector",), "targets": ("store",)},
        one_in=12,
        seed=29,
    ),
    Ablation(
        "gaps are applied over",
        "An event is applied to the version before it only",
        removed.gaps_are_applied_over,
        ("members",),
        shape={"projectors": 1},
        one_in=1,
        seed=1,
    ),
    Ablation(
        "any write applies",
        "An older write never replaces a newer one",
        removed.any_write_applies,
        ("freeze",),
        shape={
            "projectors": 2,
            "charge_points": 2,
            "charges": 2,
            "readings": 30,
            "storm": 12.0,
            "pace": 0.1,
            "lasting": 1.5,
            "victims": ("projector",),
            "places": ("store",),
        },
        one_in=6,
        seed=3,
    ),
    Ablation(
        "positions before the work",
        "A follower's position moves after its work",
        removed.positions_move_before_the_work,
        ("down", "crash"),
        shape={"projectors": 1, "pace": 0.3, "victims": ("projector",), "targets": ("store",)},
        one_in=4,
        seed=3,
    ),
    Ablation(
        "positions without their epoch",
        "The epoch travels with the position",
        removed.positions_forget_the_epoch,
        ("zombie", "members"),
        shape={
            "deciders": 2,
            "projectors": 1,
            "charge_points": 2,
            "charges": 3,
            "readings": 8,
            "storm": 10.0,
            "pace": 0.2,
            "lasting": 1.6,
            "victims": ("projector",),
        },
        one_in=9,
        seed=8,
    ),
    Ablation(
        "what raises is skipped",
        "A fact on which a follower raises parks its aggregate",
        removed.what_raises_is_skipped,
        ("poison",),
        one_in=2,
        seed=0,
    ),
    Ablation(
        "parked in memory only",
        "What is parked stays so over restarts",
        removed.parked_in_memory_only,
        ("poison", "crash"),
        shape={"pace": 0.5, "longest_calm": 100.0},
        one_in=1,
        seed=0,
    ),
    Ablation(
        "nobody sweeps",
        "The sweeper repairs what Faust skipped",
        removed.nobody_sweeps,
        ("crash",),
        shape={
            "faust": True,
            "faust_skips": 0.4,
            "projectors": 1,
            "effects": 1,
            "pace": 0.3,
            "longest_calm": 100.0,
        },
        one_in=1,
        seed=1,
    ),
    Ablation(
        "Faust applies over gaps",
        "Faust leaves to the sweeper what is not the next version",
        removed.faust_applies_over_gaps,
        ("crash",),
        shape={"faust": True, "faust_skips": 0.4, "projectors": 1, "effects": 1, "pace": 0.3},
        one_in=2,
        seed=1,
    ),
    Ablation(
        "processes begin at the claim",
        "What was decided and not followed is followed by whoever claims next",
        removed.processes_begin_at_the_claim,
        ("step",),
        shape={"pace": 0.2, "victims": ("decider",)},
        one_in=8,
        seed=8,
    ),
    Ablation(
        "processes do not wait for their appends",
        "What follows from a fact is durable before its position moves",
        removed.positions_of_processes_move_first,
        ("full",),
        shape={"pace": 0.2, "lasting": 2.0},
        one_in=2,
        seed=0,
    ),
    Ablation(
        "public records are not waited for",
        "Public topics: in order, nothing left out",
        removed.public_records_are_not_waited_for,
        ("weather",),
        shape={
            "public": True,
            "projectors": 1,
            "effects": 1,
            "pace": 0.4,
            "severity": 3.0,
            "targets": ("log",),
        },
        one_in=4,
        seed=3,
    ),
    Ablation(
        "a full listener is passed over",
        "Live streams: who took too slowly is told the rest",
        removed.a_full_listener_is_passed_over,
        ("crash",),
        shape=LISTENED,
        one_in=1,
        seed=0,
    ),
    Ablation(
        "who was behind joins without what is in memory",
        "Live streams: nothing comes in between when a listener joins",
        removed.who_was_behind_joins_without_what_is_in_memory,
        ("crash",),
        shape=LISTENED,
        one_in=1,
        seed=0,
    ),
    Ablation(
        "MQTT is not waited for",
        "MQTT: nothing is lost while the broker is away",
        removed.mqtt_does_not_wait_for_its_broker,
        ("down",),
        shape={"mqtt": True, "projectors": 1, "effects": 1, "pace": 0.4},
        one_in=3,
        seed=1,
    ),
    Ablation(
        "sinks share the foremost position",
        "Each sink begins at its own position",
        removed.sinks_share_the_foremost_position,
        ("down", "crash"),
        shape=SINKS,
        one_in=6,
        seed=2,
    ),
    Ablation(
        "the note forgets who is behind",
        "The note of a position holds every sink, its offset is the least",
        removed.notes_forget_who_is_behind,
        ("down", "crash"),
        shape=SINKS,
        one_in=4,
        seed=2,
    ),
    Ablation(
        "sinks without their epoch",
        "A sink's epoch travels with its position",
        removed.sinks_forget_the_epoch,
        ("zombie", "members"),
        shape={
            "public": True,
            "deciders": 2,
            "projectors": 1,
            "effects": 1,
            "charge_points": 2,
            "charges": 3,
            "readings": 8,
            "storm": 10.0,
            "pace": 0.2,
            "lasting": 1.6,
            "victims": ("effects",),
        },
        one_in=1,
        seed=0,
    ),
    Ablation(
        "what a sink let go of is gone",
        "What a full sink lets go of is read again",
        removed.what_a_sink_let_go_of_is_gone,
        ("down",),
        shape={**SINKS, "most_in_a_sink": 2},
        one_in=1,
        seed=0,
    ),
    Ablation(
        "nobody reads what stands before the common reading",
        "A sink that is behind at the start has a reader of its own",
        removed.nobody_reads_what_stands_before_the_common_reading,
        ("down", "crash"),
        shape={**SINKS, "most_in_a_sink": 2},
        one_in=3,
        seed=2,
    ),
    Ablation(
        "told calls have no number",
        "A told call that is said again has one effect",
        removed.told_calls_have_no_number,
        ("weather",),
        shape={"readings": 16, "storm": 10.0, "severity": 4.0, "targets": ("log", "partner")},
        one_in=7,
        seed=37,
    ),
    Ablation(
        "readings beside are carried by nothing",
        "A relay or a stop carries what was read beside the events",
        removed.readings_beside_are_carried_by_nothing,
        (),
        one_in=2,
        seed=1,
    ),
    Ablation(
        "nobody reads what was left beside",
        "Who takes a charge point over reads what was left beside its events",
        removed.nobody_reads_what_was_left_beside,
        ("crash",),
        shape={"readings": 16, "storm": 10.0, "pace": 0.3, "victims": ("gateway",)},
        one_in=2,
        seed=4,
    ),
    Ablation(
        "second records of readings count",
        "Readers drop a second record of one reading",
        removed.second_records_of_readings_count,
        ("weather", "down"),
    ),
    Ablation(
        "starts have no content key",
        "A repeated start gets the first answer (START-6)",
        removed.starts_have_no_content_key,
        ("weather", "down"),
        also=(removed.starts_have_no_id_of_their_content,),
        shape={"charges": 3, "storm": 10.0, "pace": 0.3, "severity": 4.0, "targets": ("log", "wire")},
        one_in=3,
        seed=7,
    ),
    Ablation(
        "told before it is durable",
        "What is acknowledged is in the log",
        removed.told_is_answered_before_it_is_durable,
        ("full",),
        shape={"pace": 0.2, "lasting": 2.0},
        one_in=3,
        seed=16,
    ),
    Ablation(
        "starts claim no tag",
        "Of two starts of a tag that charges once, one is let through",
        removed.starts_claim_no_tag,
        ("crash", "members"),
        shape={
            "exclusive": True,
            "charges": 6,
            "charge_points": 3,
            "readings": 2,
            "projectors": 0,
            "effects": 0,
            "storm": 6.0,
            "pace": 0.2,
        },
        one_in=12,
        seed=20,
    ),
    Ablation(
        "starts are answered without the log",
        "Log away: transactions are not answered",
        removed.starts_are_answered_without_the_log,
        ("down",),
        shape={"charges": 3, "storm": 12.0, "pace": 0.4, "lasting": 4.0, "targets": ("log",)},
        one_in=7,
        seed=1,
    ),
    Ablation(
        "a call's timer asks the clock",
        "A call that is never answered keeps no other waiting",
        removed.timers_of_calls_ask_the_clock,
        (),
        shape={"operators": True},
        one_in=2,
        seed=4,
    ),
    Ablation(
        "nobody waits after a gain",
        "Who takes a partition over from somebody silent waits for what may still arrive",
        removed.nobody_waits_after_a_gain,
        ("freeze",),
        shape=TOLD | {"lasting": 3.0, "places": ("partner",)},
        one_in=3,
        seed=0,
    ),
    Ablation(
        "pushes need no proof",
        "Nothing is sent without a proof that the partition is ours",
        removed.pushes_need_no_proof,
        ("freeze",),
        shape=TOLD | {"lasting": 6.0, "places": ("reads",)},
        one_in=3,
        seed=2,
    ),
    Ablation(
        "epochs of accounts are not checked",
        "What a former holder reports does not count",
        removed.epochs_of_accounts_are_not_checked,
        ("cut",),
        shape=TOLD | {"lasting": 4.0, "pace": 0.15, "storm": 90.0, "targets": ("log",)},
        one_in=25,
        seed=7,
    ),
    Ablation(
        "positions pass what is not told",
        "A position passes what was told or is named",
        removed.positions_pass_what_is_not_told,
        ("crash",),
        shape=TOLD,
        one_in=1,
        seed=0,
    ),
    Ablation(
        "what waits is not named",
        "What was tried in vain is named in the account",
        removed.what_waits_is_not_named,
        ("down", "crash"),
        shape=TOLD
        | {
            "targets": ("partner",),
            "effects": 1,
            "charges": 10,
            "readings": 2,
            "storm": 400.0,
            "pace": 8.0,
            "lasting": 8.0,
            "most_named": 100,
        },
        one_in=2,
        seed=1,
    ),
    Ablation(
        "who is behind is not noted",
        "Of a partner that is behind the account keeps from where",
        removed.who_is_behind_is_not_noted,
        ("down",),
        shape=TOLD | {"targets": ("partner",), "most_named": 0},
        one_in=1,
        seed=0,
    ),
    Ablation(
        "spacing is forgotten",
        "What runs is told every 30 s at most",
        removed.spacing_is_forgotten,
        (),
        shape=TOLD,
        one_in=1,
        seed=1,
    ),
    Ablation(
        "a Retry-After is not kept",
        "A partner that asks to be left alone is",
        removed.a_retry_after_is_not_kept,
        ("busy",),
        shape=TOLD,
        one_in=1,
        seed=0,
    ),
    Ablation(
        "CDRs wait for no session",
        "A CDR is sent once its session's end was answered",
        removed.cdrs_wait_for_no_session,
        ("weather",),
        shape=TOLD | {"targets": ("partner",), "severity": 5.0},
        one_in=2,
        seed=1,
    ),
    Ablation(
        "lost attempts are not repeated",
        "An attempt that was lost with its process is repeated",
        removed.lost_attempts_are_not_repeated,
        ("step",),
        shape={
            "projectors": 1,
            "effects": 1,
            "charges": 2,
            "pace": 0.1,
            "victims": ("effects",),
            "places": ("partner",),
        },
        one_in=9,
        seed=6,
    ),
    Ablation(
        "lives begin at one",
        "An id that comes again begins above its versions before",
        removed.lives_begin_at_one,
        (),
        shape=_MONTHS,
        one_in=1,
        seed=1,
    ),
    Ablation(
        "nothing is looked up after all",
        "What comes after all is held against the log",
        removed.nothing_is_looked_up_after_all,
        (),
        shape=_MONTHS,
        one_in=2,
        seed=2,
    ),
    Ablation(
        "old causes count as young",
        "What follows from old facts is held against the log",
        removed.old_causes_count_as_young,
        (),
        also=(removed.processes_have_no_floor,),
        shape=_MONTHS,
        one_in=5,
        seed=1,
    ),
    Ablation(
        "a fold forgets on its way",
        "A fold from the beginning keeps all until it is through",
        removed.a_fold_forgets_on_its_way,
        (),
        shape=_MONTHS,
        one_in=2,
        seed=0,
    ),
    Ablation(
        "what changed meanwhile is forgotten",
        "What is marked as gone leaves memory where it has not changed",
        removed.what_changed_meanwhile_is_forgotten_too,
        ("weather",),
        shape=_MONTHS,
    ),
    Ablation(
        "gone by whoever wrote last",
        "Marks of a decider that had lost the partition are not trusted",
        removed.gone_by_whoever_wrote_last,
        ("zombie",),
        shape=_MONTHS,
    ),
    Ablation(
        "blocks are not read first",
        "Who goes on with a block reads it first",
        removed.blocks_are_not_read_first,
        ("crash",),
        shape=BLOCKS,
        one_in=2,
        seed=1,
    ),
    Ablation(
        "positions pass what is kept back",
        "No position passes an entry of a block that is not written",
        removed.positions_pass_what_is_kept_back,
        ("crash",),
        shape=BLOCKS,
        one_in=2,
        seed=1,
    ),
    Ablation(
        "what was taken before is taken again",
        "What comes again is in no block twice",
        removed.what_was_taken_before_is_taken_again,
        ("freeze",),
        shape={**BLOCKS, "projectors": 2, "lasting": 2.0, "storm": 30.0, "charges": 4},
        one_in=3,
        seed=1,
    ),
    Ablation(
        "partitions that went are folded on",
        "Nothing is folded on what was known of a partition before it went",
        removed.partitions_that_went_are_folded_on,
        ("freeze",),
        shape={**BLOCKS, "projectors": 2, "lasting": 2.0, "storm": 30.0, "charges": 4},
        one_in=2,
        seed=5,
    ),
    Ablation(
        "strangers are let in unasked",
        "A tenant has no more charge points than it may have, but those in flight",
        removed.strangers_are_let_in_unasked,
        (),
        shape={"strangers": 5},
        one_in=1,
        seed=0,
    ),
    Ablation(
        "a count alone",
        "Each charge point is counted once",
        removed.a_count_alone,
        ("crash", "power"),
        shape={"strangers": 5, "pace": 0.2, "victims": ("decider",)},
        one_in=1,
        seed=1,
    ),
    Ablation(
        "a late word of a charge point counts",
        "Each charge point is counted by its newest fact",
        removed.a_late_word_of_a_charge_point_counts,
        ("zombie", "power", "weather"),
        shape={"strangers": 5, "deciders": 2, "pace": 0.3, "lasting": 1.6},
        one_in=6,
        seed=17,
    ),
    Ablation(
        "a late word of a part counts",
        "Each part of a fleet is counted by its newest word",
        removed.a_late_word_of_a_part_counts,
        ("zombie", "power", "weather"),
        shape={"strangers": 5, "deciders": 2, "pace": 0.3, "lasting": 1.6},
        one_in=6,
        seed=17,
    ),
    Ablation(
        "what was known of keys counts for ever",
        "A revoked key opens nothing 10 s after its revocation was answered",
        removed.what_was_known_of_keys_counts_for_ever,
        ("cut",),
        shape={**SERVICES, "lasting": 8.0, "targets": ("log",)},
        one_in=3,
        seed=2,
    ),
    Ablation(
        "keys are heard from the log's end on",
        "What the read store has not got of keys is heard from where it stands",
        removed.keys_are_heard_from_the_end_on,
        ("crash", "down"),
        shape={
            **SERVICES,
            "projectors": 1,
            "effects": 0,
            "storm": 20.0,
            "lasting": 2.0,
            "targets": ("store",),
        },
        one_in=5,
        seed=3,
    ),
    Ablation(
        "what is read of a key counts whatever was heard",
        "A revocation while a key is being read is not missed",
        removed.what_is_read_of_a_key_counts_whatever_was_heard,
        ("crash", "down"),
        shape={
            **SERVICES,
            "keys": 12,
            "projectors": 1,
            "effects": 0,
            "storm": 20.0,
            "targets": ("store",),
        },
        one_in=7,
        seed=10,
    ),
    Ablation(
        "portions issue whatever they hear",
        "Each item of a job is issued once an attempt",
        removed.portions_issue_whatever_they_hear,
        ("crash",),
        shape=JOBS,
        one_in=2,
        seed=0,
    ),
    Ablation(
        "any outcome is of the attempt that is out",
        "An outcome counts for the attempt that it is of",
        removed.any_outcome_is_of_the_attempt_that_is_out,
        ("crash",),
        shape=JOBS,
        one_in=4,
        seed=7,
    ),
    Ablation(
        "a connection tells nobody",
        "Who waits for a charge point is told of its connection",
        removed.a_connection_tells_nobody,
        ("crash",),
        shape={"job": True, "pace": 0.2, "victims": ("gateway",)},
        one_in=10,
        seed=3,
    ),
    Ablation(
        "requests of partners are no identity",
        "A partner's request is one remote command, however often it is made",
        removed.requests_of_partners_are_no_identity,
        ("crash",),
        shape=ASKED,
        one_in=2,
        seed=0,
    ),
    Ablation(
        "each PATCH of a CPO's session is a new one",
        "A PATCH that was applied is known when it comes again",
        removed.each_patch_is_a_new_one,
        ("crash",),
        shape=CPOS,
        one_in=2,
        seed=0,
    ),
    Ablation(
        "a part makes the whole as new as itself",
        "A Location, its EVSEs and their connectors each have an age of their own",
        removed.a_part_makes_the_whole_as_new_as_itself,
        ("crash",),
        shape=PUSHES,
        one_in=1,
        seed=0,
    ),
    Ablation(
        "an older push of an EVSE counts",
        "Of what a CPO pushes of one object the newest stands, in whatever order it comes",
        removed.an_older_push_of_an_evse_counts,
        ("crash",),
        shape=PUSHES,
        one_in=2,
        seed=0,
    ),
    Ablation(
        "older states of a CPO's session are applied",
        "An older state of a session of others changes nothing",
        removed.older_states_are_applied,
        ("crash",),
        shape=CPOS,
        one_in=4,
        seed=4,
    ),
    Ablation(
        "the last CDR with an id counts",
        "A CDR of others never changes",
        removed.the_last_cdr_counts,
        ("crash",),
        shape=CPOS,
        one_in=1,
        seed=0,
    ),
    Ablation(
        "a CDR of others is wanted beside its fact",
        "The fact of a CDR that a CPO posted is passed once it is wanted",
        removed.a_cdr_of_others_is_wanted_beside_its_fact,
        ("crash",),
        shape=HANDED_ON,
        one_in=32,
        seed=25,
    ),
    Ablation(
        "pushes have no end",
        "A variable is pushed three times at most",
        removed.pushes_have_no_end,
        (),
        shape=WISHES,
        one_in=8,
        seed=1,
    ),
    Ablation(
        "what it may hold is left to it",
        "A reservation that is over here is given up by its charge point",
        removed.what_it_may_hold_is_left_to_it,
        (),
        shape=WISHES,
        one_in=20,
        seed=18,
    ),
)


NOBODY_ELSE: Final[Mapping[str, Any]] = {"asks": False, "pushes": 0, "foreign": 0, "wishes": False}
"""Who is not in a world but where a safeguard is about them: a world is then the same whoever else there may be."""


def hit(ablation: Ablation, seed: int) -> str:
    """What is lost in this world without the safeguard; nothing where something is wrong with it too."""
    from tests.simulation.world import World

    shape = {**NOBODY_ELSE, **(ablation.shape or {})}
    with without(ablation):
        outcome = World(seed, faults=ablation.faults, wanted=shape).run()
    if not outcome.violations or World(seed, faults=ablation.faults, wanted=shape).run().violations:
        return ""
    return outcome.violations[0]


def hits(ablation: Ablation, seeds: Sequence[int], enough: int) -> tuple[int, list[tuple[int, str]]]:
    """In how many worlds it was looked for, and where it was missed and what is lost there: up to `enough` times."""
    found: list[tuple[int, str]] = []
    for start in range(0, len(seeds), PORTION):
        portion = seeds[start : start + PORTION]
        count, some = apart(partial(_hits, ablation, portion, enough - len(found)))
        found += some
        if len(found) == enough:
            return start + count, found
    return len(seeds), found


def _hits(ablation: Ablation, seeds: Sequence[int], enough: int) -> tuple[int, list[tuple[int, str]]]:
    found: list[tuple[int, str]] = []
    for count, seed in enumerate(seeds, 1):
        lost = hit(ablation, seed)
        if lost:
            found.append((seed, lost))
        if len(found) == enough:
            return count, found
    return len(seeds), found


def main() -> int:
    """Each safeguard, or those whose names hold a WORD, is taken away until that is missed; exits with 1 where it
    never is, though it was. With --seeds it is said how often: in 1 of so many worlds."""
    from tests.simulation.world import prepare

    parser = argparse.ArgumentParser(prog="python -m tests.simulation.ablations")
    parser.add_argument("words", nargs="*", metavar="WORD")
    parser.add_argument("--seeds", type=int, help="look at so many seeds, and say how often each is missed")
    options = parser.parse_args()
    prepare()
    unmissed = 0
    for ablation in ABLATIONS:
        if options.words and not any(word in ablation.name for word in options.words):
            continue
        if options.seeds:
            count, found = hits(ablation, range(options.seeds), ENOUGH)
            where = f"1 in {round(count / len(found))}, first {found[0][0]}" if found else f"none of {count}"
        elif ablation.one_in is None:
            continue
        else:
            known = () if ablation.seed is None else (ablation.seed,)
            _, found = hits(ablation, (*known, *range(SPAN)), 1)
            where = str(found[0][0]) if found else f"none of {SPAN}"
        unmissed += not found and ablation.one_in is not None
        lost = found[0][1] if found else ""
        under = ", ".join(ablation.faults) or "calm"
        say(f"| {ablation.rule} | {ablation.name} | {under} | {where} | {lost[:110]} |")
    return 1 if unmissed else 0


if __name__ == "__main__":
    sys.exit(main())
