"""The colours of pictures by class, for light and dark pages. A page that has its own rules needs none of these."""

from __future__ import annotations

from typing import Final

_LIGHT: Final = (
    "--fs-text:#1d2330;--fs-soft:#5b6475;--fs-line:#d5dae3;--fs-edge:#9aa4b5;--fs-paper:#ffffff;--fs-wait:#cfd6e2;"
    "--fs-unstarted:#e3e8f0;--fs-started:#9cc4f5;--fs-finished:#a5d8b4;--fs-failed:#f2a9a4;--fs-aborted:#e8cf95"
)
_DARK: Final = (
    "--fs-text:#e7eaf0;--fs-soft:#a3adbd;--fs-line:#363d4a;--fs-edge:#66718a;--fs-paper:#14171d;--fs-wait:#3a4353;"
    "--fs-unstarted:#2c3442;--fs-started:#1f5b9e;--fs-finished:#21683a;--fs-failed:#94332d;--fs-aborted:#755912"
)
_STATES: Final = ("unstarted", "started", "finished", "failed", "aborted")

CSS: Final = "".join(
    [
        f".fs-picture{{{_LIGHT};max-width:100%;height:auto;font:12px system-ui,sans-serif;background:var(--fs-paper)}}",
        f"@media(prefers-color-scheme:dark){{.fs-picture{{{_DARK}}}}}",
        f":root[data-theme=dark] .fs-picture{{{_DARK}}}:root[data-theme=light] .fs-picture{{{_LIGHT}}}",
        ".fs-picture text{fill:var(--fs-text)}.fs-picture .fs-tick{fill:var(--fs-soft);font-size:11px}",
        ".fs-grid{stroke:var(--fs-line);stroke-width:1}.fs-edge{stroke:var(--fs-edge);fill:none;stroke-width:1.2}",
        ".fs-box.fs-subject{stroke:var(--fs-text);stroke-width:2.5}",
        ".fs-arrow{fill:var(--fs-edge)}.fs-box{stroke:var(--fs-edge);stroke-width:1}.fs-wait{fill:var(--fs-wait)}",
        ".fs-fold{stroke:var(--fs-soft);stroke-width:1;stroke-dasharray:2 3}.fs-value{fill:var(--fs-started)}",
        ".fs-bar{stroke:var(--fs-paper);stroke-width:1}",
        ".fs-dot.fs-s0{fill:#2f7fd8}.fs-dot.fs-s1{fill:#d97a1c}.fs-dot.fs-s2{fill:#8a5cd1}.fs-dot{stroke:none}",
        ".fs-series{fill:none;stroke-linejoin:round;stroke-width:2}",
        ".fs-s0{stroke:#2f7fd8}.fs-s1{stroke:#d97a1c}.fs-s2{stroke:#8a5cd1}",
        *(f".fs-{state}{{fill:var(--fs-{state})}}" for state in _STATES),
    ]
)
