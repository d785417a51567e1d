"""The style sheet of report.html: light, dark and print."""

STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1d2129; --soft: #6b7280;
  --line: #d9dce1; --card: #f6f7f9; --good: #d7f0e4; --fair: #fbefcf; --poor: #f9dcdc; }
@media (prefers-color-scheme: dark) { :root { --paper: #15181d; --ink: #e6e8eb; --soft: #9aa3af;
  --line: #343a43; --card: #1c2026; --good: #17402f; --fair: #463a14; --poor: #4a2126; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); line-height: 1.5;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans",
  sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: 2.2rem 1.4rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .9rem; letter-spacing: -.01em; }
h2 { font-size: 1.2rem; margin: 2.6rem 0 .4rem; }
p { color: var(--soft); max-width: 80ch; margin: .2rem 0 1rem; font-size: .88rem; }
p b, p em { color: var(--ink); }
dl.facts { display: flex; flex-wrap: wrap; gap: .7rem 2.2rem; margin: 0; padding: .8rem 0;
  border-top: 1px solid var(--line); border-bottom: 1px solid var(--line); }
dt { color: var(--soft); font-size: .76rem; }
dd { margin: 0; font-size: .92rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .84rem; }
table.main, table.published { width: 100%; }
table.main { font-size: .8rem; } table.main th, table.main td { padding: .4rem .42rem; }
table.main td.n { white-space: normal; }
th, td { padding: .42rem .55rem; text-align: right; vertical-align: top; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; white-space: normal; }
thead th { color: var(--soft); font-weight: 500; font-size: .78rem; line-height: 1.25;
  vertical-align: bottom; border-bottom: 1.5px solid var(--soft); }
tbody th { font-weight: 600; }
td span, td small { color: var(--soft); }
td small { display: block; font-size: .76rem; line-height: 1.3; }
td small i { font-style: normal; opacity: .8; }
abbr { text-decoration: none; font-size: .8em; margin-right: .35em; }
table.main th:first-child { position: sticky; left: 0; background: var(--paper); z-index: 1; }
table.cost td.bars { width: 15rem; vertical-align: middle; }
.bar { display: block; height: .6em; min-width: 1px; background: var(--soft); border-radius: 2px; }
td.none { color: var(--soft); }
tr.yardstick, table.main tr.yardstick th { background: var(--card); }
tr.yardstick + tr:not(.yardstick) > * { border-top: 1.5px solid var(--soft); }
.good { background: var(--good); } .fair { background: var(--fair); }
.poor { background: var(--poor); }
.key { white-space: nowrap; padding: .05rem .4rem; border-radius: .25rem; color: var(--ink); }
table.published .rule { border-left: 1px solid var(--line); }
table.published thead tr:first-child th { text-align: center; }
table.published thead tr:first-child th:first-child { text-align: left; }
table.published thead tr + tr th { text-align: right; }
table.seeds { font-size: .76rem; }
table.seeds th, table.seeds td { padding: .22rem .5rem; }
table.seeds thead th { white-space: normal; }
tr.diverged td { color: var(--soft); }
.columns { display: flex; flex-wrap: wrap; gap: 1rem 3rem; align-items: flex-start; }
table.settings caption { text-align: left; font-weight: 600; padding: .3rem 0; }
table.settings th, table.settings td { text-align: left; padding: .18rem .9rem .18rem 0;
  white-space: normal; overflow-wrap: anywhere; }
table.settings th { color: var(--soft); font-weight: 400; overflow-wrap: normal; }
figure { margin: 0; }
figure svg { display: block; width: 100%; height: auto; }
.grids { display: grid; gap: 1.4rem; grid-template-columns: repeat(auto-fill, minmax(330px, 1fr)); }
.grids img { display: block; width: 100%; height: auto; border-radius: 3px; }
.grids p { margin: 0; }
figcaption { font-weight: 600; font-size: .86rem; margin-bottom: .35rem; }
figcaption i { display: inline-block; width: .62em; height: .62em; border-radius: 50%;
  margin-right: .45em; }
@media print { :root { color-scheme: light; } main { max-width: none; padding: 0; }
  body { font-size: 11px; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  h2 { break-after: avoid; } figure, tr { break-inside: avoid; } .wide { overflow: visible; } }
"""
