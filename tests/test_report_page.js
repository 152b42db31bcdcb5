// Loaded after report.js by test_report_page.sh: looks at the page as a reader would, and leaves the verdict in the
// document, which a headless Chromium prints.
'use strict';

(async () => {
  const faults = window.faults;  // errors since before the first script; see test_report_page.sh
  const check = (right, what) => { if (!right) faults.push(what); };
  const charts = window.attentionCharts;
  const wanted = ['ladder', 'waterfall', 'times', 'rates', 'roofline', 'ratio'];

  const coloursOf = canvas => {
    const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    const colours = new Set();
    for (let i = 0; i < data.length; i += 4 * 7) colours.add((data[i] << 16) | (data[i + 1] << 8) | data[i + 2]);
    return colours.size;
  };
  const frame = () => new Promise(resolve => requestAnimationFrame(resolve));
  const fits = () => document.documentElement.scrollWidth <= window.innerWidth;

  check(wanted.every(id => charts[id]), `charts: ${Object.keys(charts)}`);
  for (const id of wanted) {
    const section = document.getElementById(id);
    const canvas = section.querySelector('canvas');
    check(canvas.clientWidth > 200 && canvas.clientHeight > 60, `${id} has no size`);
    check(coloursOf(canvas) > 3, `${id} is empty`);
    check(section.querySelectorAll('tbody tr').length > 0, `${id} has no table`);
    check(!/NaN|undefined|Infinity/.test(section.textContent), `${id}'s table has holes`);

    // A pointer on the first bar or point shows its value.
    const chart = charts[id];
    const dataset = chart.data.datasets.findIndex(set => set.data.some(value => value !== null));
    const index = chart.data.datasets[dataset].data.findIndex(value => value !== null);
    const {x, y} = chart.getDatasetMeta(dataset).data[index].getCenterPoint();
    const box = canvas.getBoundingClientRect();
    canvas.dispatchEvent(new MouseEvent('mousemove', {clientX: box.left + x, clientY: box.top + y, bubbles: true}));
    const shown = () => (chart.tooltip.body || []).flatMap(part => part.lines).join(' ');
    for (let tries = 0; tries < 20 && !shown(); ++tries) await frame();  // Chart.js answers in the next frame
    check(/\d/.test(shown()) && !/NaN|undefined/.test(shown()), `${id} shows '${shown()}' under the pointer`);
  }

  const bars = () => charts.ladder.data.labels.length;
  const before = bars();
  const box = document.querySelector('#stages input[name="01_naive"]');
  box.click();
  check(bars() === before - 2, `hiding 01_naive leaves ${bars()} of ${before} bars`);
  box.click();
  check(bars() === before, 'showing 01_naive again does not');

  const mode = document.getElementById('mode');
  const time = () => charts.ladder.data.datasets[0].data[0];
  const chainTime = time();
  mode.value = 'single';
  mode.dispatchEvent(new Event('change'));
  check(time() !== chainTime, 'another mode shows the same times');

  const paper = () => getComputedStyle(document.body).backgroundColor;
  const paperBefore = paper();
  document.getElementById('theme').click();
  check(paper() !== paperBefore, 'the theme does not change');
  check(wanted.every(id => coloursOf(document.getElementById(id).querySelector('canvas')) > 3), 'a chart is empty in the other theme');

  check(fits(), `the page is ${document.documentElement.scrollWidth} wide in a window of ${window.innerWidth}`);
  const outside = performance.getEntriesByType('resource').map(entry => entry.name).filter(name => !name.startsWith('file:'));
  check(outside.length === 0, `loads ${outside}`);
  const files = window.attentionData.results.length;
  check(charts.ladder.data.datasets.length === files, `${charts.ladder.data.datasets.length} datasets of ${files} files`);
  const runs = document.getElementById('runs');
  if (window.attentionData.runs.length) {
    check(/no times/.test(runs.textContent) && /1234567/.test(runs.textContent), 'the run lacks its note or its counters');
  } else {
    check(runs.hidden, 'a run is shown where there is none');
  }
  const verdict = faults.length ? `wrong: ${faults.join('; ')}` : 'right';
  document.body.dataset.verdict = verdict;
  window.parent.postMessage(verdict, '*');
})();
