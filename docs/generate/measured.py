"""A measurement as a page shows it: command, machine, tables and figures of one record."""

from __future__ import annotations

from collections.abc import Mapping

from docs.generate import records, speed, speed_plots, timings
from docs.generate.blocks import Call, Maker

PARTS: Mapping[str, Maker] = {
    "association-step": speed.association_step_block,
    "baselines": timings.baselines_block,
    "growth": speed_plots.growth_block,
    "ladder": speed.ladder_block,
    "ladder-bars": speed_plots.ladder_bars_block,
    "ranges": speed.ranges_block,
    "resources": speed.resources_block,
    "speedups": speed_plots.speedups_block,
    "traffic": speed.traffic_block,
    "trainings": speed.trainings_block,
}


def measured_block(call: Call) -> str:
    """Show a record: ``measured RECORD show=ladder,ladder-bars [commands=a,b]``.

    ``show`` names `PARTS`, layouts of `timings.LAYOUTS`, or ``operators:PREFIX``; ``commands=none`` leaves these out.
    """
    (name,) = call.words
    found = records.commands(records.read(name))
    wanted = call.listed("commands") or list(found)
    parts = [] if wanted == ["none"] else [records.commands_block(Call((name, *wanted), {}, call.page))]
    parts.append(records.machine_block(call))
    for shown in call.listed("show"):
        kind, _, argument = shown.partition(":")
        if kind in timings.LAYOUTS:
            parts.append(timings.timings_block(Call((name, kind), {}, call.page)))
        elif kind == "operators":
            parts.append(speed.operators_block(Call((name, argument), {}, call.page)))
        else:
            parts.append(PARTS[kind](call))
    return "\n\n".join(parts)
