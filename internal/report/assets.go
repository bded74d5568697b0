package report

const styles = `
:root {
  color-scheme: light dark;
  --ground: #ffffff; --raised: #f5f6f8; --line: #d5d9e0; --ink: #1c2330; --quiet: #5b6475;
  --good: #1a7f37; --bad: #c62828; --stop: #9a6700; --idle: #6e7781; --part: #7d8ba8; --code: #fafbfc;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #12161d; --raised: #1a2029; --line: #323b49; --ink: #e3e8f0; --quiet: #98a3b5;
    --good: #4cc26b; --bad: #ff7b72; --stop: #e3b341; --idle: #8b949e; --part: #6f81a6; --code: #0d1117;
  }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 75rem; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .2rem; } h2 { font-size: 1.2rem; margin: 0 0 .6rem; } h3 { font-size: .95rem; margin: 0 0 .3rem; }
small, .when { color: var(--quiet); font-weight: normal; }
a { color: inherit; }
button { font: inherit; padding: .2rem .7rem; color: inherit; background: var(--raised); border: 1px solid var(--line); border-radius: 6px; cursor: pointer; }
table.jobs { border-collapse: collapse; width: 100%; }
.jobs th, .jobs td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); }
.jobs td.number { font-variant-numeric: tabular-nums; }
.badge { font-size: .75rem; font-weight: 600; padding: .1rem .5rem; border: 1px solid currentColor; border-radius: 1rem; vertical-align: middle; color: var(--idle); }
.badge.success { color: var(--good); } .badge.failure { color: var(--bad); } .badge.cancelled { color: var(--stop); }
section.job { margin-top: 1.5rem; padding: 1rem; background: var(--raised); border: 1px solid var(--line); border-radius: 8px; }
.notes { margin: 0 0 .8rem; padding: 0; list-style: none; }
.notes li { padding: .3rem .7rem; margin-bottom: .3rem; border-left: 4px solid var(--idle); background: var(--ground); white-space: pre-wrap; overflow-wrap: anywhere; }
.notes .error { border-color: var(--bad); } .notes .warning { border-color: var(--stop); }
.waterfall { margin-bottom: .8rem; }
.row { display: grid; grid-template-columns: minmax(8rem, 16rem) 1fr 5rem; gap: .7rem; align-items: center; min-height: 1.5rem; }
.row .name { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.row.phase .name { padding-left: 1.2rem; color: var(--quiet); font-size: .85rem; }
.row .took { text-align: right; color: var(--quiet); font-variant-numeric: tabular-nums; font-size: .85rem; }
.track { position: relative; height: .9rem; background: var(--ground); border-radius: 3px; }
.row.phase .track { height: .5rem; }
.bar { position: absolute; top: 0; bottom: 0; min-width: 2px; border-radius: 3px; background: var(--idle); }
.row.success .bar { background: var(--good); } .row.failure .bar { background: var(--bad); }
.row.cancelled .bar { background: var(--stop); } .row.phase .bar { background: var(--part); }
.summary, .outputs { margin: .5rem 0; padding: .5rem .8rem; background: var(--ground); border: 1px solid var(--line); border-radius: 6px; }
.summary pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; font: inherit; }
details.step { margin-top: .3rem; border: 1px solid var(--line); border-radius: 6px; background: var(--ground); }
details.step > summary { padding: .3rem .7rem; cursor: pointer; }
.log { padding: .5rem .7rem; background: var(--code); border-top: 1px solid var(--line); border-radius: 0 0 6px 6px;
  font: 13px/1.45 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; }
.line { min-height: 1.45em; } .line.error { color: var(--bad); } .line.warning { color: var(--stop); }
.line.debug { color: var(--quiet); } .line.command { color: var(--quiet); } .line.notice { font-weight: 600; }
.group { padding-left: 1.2rem; } .group > summary { margin-left: -1.2rem; cursor: pointer; font-weight: 600; }
dd { margin: 0 0 .4rem 1rem; white-space: pre-wrap; overflow-wrap: anywhere; } dt { font-weight: 600; }
`

const script = `
'use strict';
for (const button of document.querySelectorAll('button[data-open]')) {
  button.addEventListener('click', () => {
    for (const step of document.querySelectorAll('details.step')) step.open = button.dataset.open === 'all';
  });
}
if (location.hash) document.querySelector(location.hash)?.scrollIntoView();
document.documentElement.dataset.ready = String(document.querySelectorAll('.bar').length);
`
