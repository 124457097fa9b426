"""The look of the report: one style sheet, light and dark, narrow, wide and printed."""

from __future__ import annotations

from typing import Final

STYLE: Final = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ink: #1c2024; --soft: #5b636b; --line: #dfe3e7; --panel: #f5f7f9;
  --link: #0b5cad; --certified: #00795a; --band: #00795a1f; --oracle: #c2410c;
  --labelfree: #1d4ed8; --random: #6b7280; --bad: #b42318; --badpanel: #fef3f2;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171a; --ink: #e6e8ea; --soft: #a0a8b0; --line: #2f353b; --panel: #1d2125;
    --link: #7db7f0; --certified: #3ecf9f; --band: #3ecf9f26; --oracle: #fb923c;
    --labelfree: #8ab4ff; --random: #9aa3ad; --bad: #ff8a80; --badpanel: #2b1a19;
  }
}
* { box-sizing: border-box; }
html { scroll-padding-top: 1rem; }
body {
  margin: 0 auto; padding: 1.5rem 1.25rem 4rem; max-width: 62rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.55 system-ui, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
}
h1 { font-size: 1.7rem; line-height: 1.2; margin: .2rem 0 .3rem; }
h2 { font-size: 1.25rem; margin: 2.6rem 0 .6rem; padding-top: .8rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1.02rem; margin: 1.6rem 0 .4rem; overflow-wrap: anywhere; }
p { margin: .5rem 0; max-width: 46rem; }
a { color: var(--link); }
a:focus-visible, [tabindex]:focus-visible, summary:focus-visible {
  outline: 2px solid var(--link); outline-offset: 2px; }
.skip { position: absolute; left: -99rem; }
.skip:focus { left: 1rem; top: .5rem; background: var(--paper); padding: .3rem .6rem; }
.about { color: var(--soft); margin: 0; }
.verdict { background: var(--panel); border-left: 4px solid var(--link); border-radius: 4px;
  padding: .7rem 1.1rem .8rem; margin: 1.1rem 0; }
.verdict h3 { margin: .2rem 0 .3rem; }
.verdict p { max-width: none; }
nav ol { columns: 2; column-gap: 2rem; padding-left: 1.3rem; margin: .4rem 0; max-width: 40rem; }
nav h2 { border: 0; padding: 0; margin: 1.6rem 0 .2rem; font-size: 1.02rem; }
.scroll { overflow-x: auto; margin: .7rem 0 .3rem; border-radius: 2px; }
table { border-collapse: collapse; font-size: .92rem; min-width: 60%; }
caption { text-align: left; font-weight: 600; padding: .2rem 0 .4rem; }
th, td { padding: .3rem .9rem .3rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); }
thead th { color: var(--soft); font-weight: 600; vertical-align: bottom; }
tbody th { font-weight: 400; white-space: nowrap; }
td:last-child:not(.n) { min-width: 11rem; }
th.n, td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tbody tr:hover > * { background: var(--panel); }
.note { color: var(--soft); font-size: .88rem; margin: .25rem 0; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 25rem), 1fr));
  gap: 1.2rem; margin: .6rem 0; }
figure { margin: 0; }
figcaption { font-weight: 600; font-size: .92rem; margin-bottom: .2rem; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .2rem 1.3rem; padding: 0;
  margin: .4rem 0; font-size: .9rem; }
.legend svg { width: 2.2rem; height: .8rem; vertical-align: middle; margin-right: .4rem; }
svg { display: block; width: 100%; height: auto; }
.legend svg { display: inline-block; }
svg text { fill: var(--soft); font: 13px system-ui, "Segoe UI", Roboto, sans-serif; }
.grid { stroke: var(--line); stroke-width: 1; }
.axis { stroke: var(--soft); stroke-width: 1; }
.band { fill: var(--band); }
.curve { fill: none; stroke-width: 2.2; stroke-linejoin: round; }
.dot { stroke: var(--paper); stroke-width: 1.2; }
.certified { stroke: var(--certified); } .dot.certified { fill: var(--certified); }
.oracle { stroke: var(--oracle); } .dot.oracle { fill: var(--oracle); }
.labelfree { stroke: var(--labelfree); stroke-dasharray: 7 4; }
.dot.labelfree { fill: var(--labelfree); stroke-dasharray: none; }
.random { stroke: var(--random); stroke-dasharray: 2 4; }
.dot.random { fill: var(--random); stroke-dasharray: none; }
.dot.certified, .dot.oracle, .dot.labelfree, .dot.random { stroke: var(--paper); }
.flags { padding: 0; list-style: none; }
.flags li { background: var(--badpanel); border-left: 4px solid var(--bad); border-radius: 4px;
  padding: .5rem .9rem; margin: .6rem 0; }
.flags strong { color: var(--bad); }
.good { color: var(--certified); }
pre { background: var(--panel); padding: .7rem 1rem; overflow-x: auto; font-size: .86rem;
  border-radius: 4px; }
code { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.2rem; font-size: .93rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
footer { margin-top: 3rem; color: var(--soft); font-size: .88rem; }
@media (max-width: 36rem) {
  body { padding: 1rem .9rem 3rem; }
  h1 { font-size: 1.4rem; }
  nav ol { columns: 1; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .5rem; }
  tbody th { white-space: normal; }
  td { white-space: nowrap; }
  table { font-size: .87rem; } th, td { padding-right: .7rem; }
}
@media print {
  :root { color-scheme: light; --paper: #fff; --ink: #000; --soft: #444; --line: #ccc;
    --panel: #f5f5f5; --link: #000; --certified: #00795a; --band: #00795a1f; --oracle: #c2410c;
    --labelfree: #1d4ed8; --random: #6b7280; --bad: #b42318; --badpanel: #fff; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  .scroll { overflow: visible; } nav, .skip { display: none; }
  figure, tr, .verdict, .flags li { break-inside: avoid; } h2, h3 { break-after: avoid; }
  .figures { grid-template-columns: 1fr 1fr; }
  pre { white-space: pre-wrap; }
}
"""
