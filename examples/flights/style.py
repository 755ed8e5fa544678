"""The page's style sheet: one column, two colour schemes, nothing from outside."""

from __future__ import annotations

from typing import Final

CSS: Final = """
:root { color-scheme: light dark; --page: #f6f5f2; --card: #fffefc; --ink: #1b1a18; --soft: #5d5a54; --faint: #8b877f; --line: #e4e1da;
  --land: #d3cfc5; --accent: #2a6fb5; --area: #2a6fb522;
  --h0: #cfe3f1; --h1: #f9e8d0; --h2: #f7d3a8; --h3: #f3b57c; --h4: #e68a4a; --h5: #c9602a; --h6: #8f3613;
  --t0: #1d3f57; --t1: #5b4327; --t2: #5b3b14; --t3: #4d2b08; --t4: #3a1d04; --t5: #fff; --t6: #fff;
  --s0: #7fb0d3; --s1: #e9cfae; --s2: #e8b47c; --s3: #e6994f; --s4: #dd7a35; --s5: #c4571f; --s6: #8f3613;
  --w0: #2a6fb5; --w1: #d9682c; --w2: #2d9a78; --w3: #8a5cc2; --w4: #b8862b; --w5: #c2477f; }
@media (prefers-color-scheme: dark) { :root { --page: #131312; --card: #1c1b1a; --ink: #f2f0ec; --soft: #b9b5ad; --faint: #8d8981;
  --line: #34322f; --land: #4a4741; --accent: #64a5e3; --area: #64a5e326;
  --h0: #1f3a4d; --h1: #33291f; --h2: #553a22; --h3: #7f4f25; --h4: #b16a2b; --h5: #de8d42; --h6: #ffc182;
  --t0: #c4e0f3; --t1: #e3cfb6; --t2: #f2d9ba; --t3: #fbe5cb; --t4: #fff; --t5: #2a1503; --t6: #2a1503;
  --s0: #4d87ad; --s1: #6b543a; --s2: #8a613a; --s3: #aa6d33; --s4: #cb8038; --s5: #ea9b4d; --s6: #ffc182;
  --w0: #4d94dc; --w1: #ea8145; --w2: #3fb38e; --w3: #a580d8; --w4: #cfa04a; --w5: #dc6a9d; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1096px; margin: 0 auto; padding: 48px 24px 64px; }
h1 { font-size: 34px; line-height: 1.15; letter-spacing: -.02em; margin: 0 0 10px; text-wrap: balance; }
h2 { font-size: 20px; letter-spacing: -.01em; margin: 0 0 4px; }
h3 { font-size: 14px; font-weight: 600; margin: 0 0 6px; }
p { margin: 0 0 14px; color: var(--soft); max-width: 90ch; text-wrap: pretty; }
header p { font-size: 18px; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 24px 28px; margin-top: 20px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: 12px; margin: 26px 0 0; padding: 0; }
.tiles div { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 14px 16px; }
.tiles dt { color: var(--soft); font-size: 13px; }
.tiles dd { margin: 0; font-size: 25px; font-weight: 600; letter-spacing: -.02em; }
.columns { margin-top: 18px; display: grid; grid-template-columns: repeat(auto-fit, minmax(290px, 1fr)); gap: 20px 28px; }
svg { display: block; width: 100%; height: auto; overflow: visible; font: 12px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
.scroll { overflow-x: auto; } .scroll svg { min-width: 720px; }
text { fill: var(--ink); } .tick { fill: var(--soft); font-size: 11px; } .code { font-family: ui-monospace, monospace; }
.label, .value { fill: var(--ink); } .value { font-variant-numeric: tabular-nums; font-weight: 600; }
.cell { font-size: 11.5px; font-variant-numeric: tabular-nums; } .on-bar { fill: #fff; font-size: 11px; }
.grid { stroke: var(--line); } .axis { stroke: var(--faint); } .area { fill: var(--area); }
.line { fill: none; stroke: var(--accent); stroke-width: 2; stroke-linejoin: round; } .dot { fill: var(--accent); }
.land { stroke: var(--land); stroke-width: 3.6; stroke-linecap: round; fill: none; }
.arc { fill: none; stroke-linecap: round; opacity: .85; } .arc:hover { opacity: 1; stroke: var(--ink); }
.end { fill: var(--soft); } .place { font-weight: 600; paint-order: stroke; stroke: var(--card); stroke-width: 3px; }
.origin { fill: var(--ink); stroke: var(--card); stroke-width: 1.5; }
.edge { fill: none; stroke: var(--faint); stroke-width: .8; opacity: .5; } .box { fill: var(--page); stroke: var(--line); }
.bar { fill: var(--faint); } .lost { opacity: .45; }
g:hover > rect { filter: brightness(1.08); }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; color: var(--soft); border-bottom: 1px solid var(--faint); padding: 6px 14px 6px 0; }
td { border-bottom: 1px solid var(--line); padding: 5px 14px 5px 0; vertical-align: top; }
.number { text-align: right; } .gone { color: var(--faint); text-decoration: line-through; }
details { margin-top: 14px; font-size: 14px; } summary { cursor: pointer; color: var(--soft); }
pre { background: var(--page); border: 1px solid var(--line); border-radius: 8px; padding: 12px 14px; overflow-x: auto;
  font: 13px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
footer { margin-top: 28px; font-size: 14px; color: var(--soft); }
""" + "\n".join(
    [
        f".h{n} {{ fill: var(--h{n}); }} .on-h{n} {{ fill: var(--t{n}); }} .s{n} {{ stroke: var(--s{n}); }}"
        for n in range(7)
    ]
    + [f".bar.w{n} {{ fill: var(--w{n}); }}" for n in range(6)]
)
