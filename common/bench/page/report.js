// Draws the charts of index.html from the results in data.js: window.attentionData = {results: [...], runs: [...]}.
'use strict';

(() => {
  const {results, runs} = window.attentionData;
  const colors = ['#4c78c8', '#2a9d74', '#d9902f', '#c0559b', '#7a8f2e', '#b5533c', '#5aa9c9', '#8d6cc9'];
  const libraryColors = {flash: '#a05195', mem_efficient: '#8a8f98', cudnn: '#d1495b', math: '#b08d57'};
  const hidden = new Set();  // groups: stages, and "pytorch"
  const charts = {};

  // ---- data -------------------------------------------------------------------------------------------------------

  const rows = results.flatMap((result, file) => result.rows.map(row => ({...row, file})));
  const isAttention = row => row.kind === 'stage' || row.kind === 'library';
  const groups = [...new Set(rows.filter(isAttention).map(row => row.who))].sort();
  const seriesName = row => row.who === 'pytorch' ? row.variant : `${row.who}/${row.variant}`;
  const color = row => row.kind === 'library'
    ? libraryColors[row.variant] || '#888888'
    : colors[groups.filter(group => group !== 'pytorch').indexOf(row.who) % colors.length];
  const several = results.length > 1;
  const fileName = file => results[file].label;
  const shown = row => !hidden.has(row.who);
  const unique = values => [...new Set(values)];
  // Integers are shown whole, everything else with three digits.
  const digits = value => value === null || value === undefined ? '' : Number.isInteger(value) ? String(value) :
    Number(value.toPrecision(3)).toLocaleString('en', {maximumSignificantDigits: 3, useGrouping: false});
  const family = row => `H=${row.heads} D=${row.head_dim}${row.causal ? ' causal' : ''}`;
  const withAlpha = (hex, alpha) => hex + Math.round(255 * alpha).toString(16).padStart(2, '0');

  const ladderShapes = unique(rows.filter(row => row.kind === 'stage').map(row => row.shape));
  const modes = unique(rows.filter(row => row.kind === 'stage').map(row => row.mode));
  const families = unique(rows.filter(row => row.kind === 'stage' && row.mode === 'chain').map(family))
    .filter(name => unique(rows.filter(row => isAttention(row) && family(row) === name).map(row => row.seq_q)).length > 1);
  const choice = {shape: ladderShapes[0], mode: modes[0], family: families[0]};

  const bestLibrary = (file, shape, mode) => rows
    .filter(row => row.kind === 'library' && row.file === file && row.shape === shape && row.mode === mode)
    .reduce((best, row) => !best || row.us < best.us ? row : best, null);
  const ceiling = (file, variant) => rows.find(row => row.kind === 'ceiling' && row.file === file && row.variant === variant);
  const floor = (file, mode) => rows.find(row => row.kind === 'floor' && row.file === file && row.mode === mode);

  // ---- page -------------------------------------------------------------------------------------------------------

  const element = (tag, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  };

  const table = (heads, lines) => element('div', {className: 'scroll'}, element('table', {},
    element('thead', {}, element('tr', {}, ...heads.map(head => element('th', {textContent: head})))),
    element('tbody', {}, ...lines.map(line => element('tr', {}, ...line.map(cell =>
      element('td', typeof cell === 'number' || cell === null || cell === undefined
        ? {textContent: digits(cell), className: 'number'} : {textContent: cell})))))));

  // A section for a chart: title, a note that explains it, the canvas, and the same numbers as a table.
  const place = (id, title, note) => {
    const section = element('section', {id},
      element('h2', {textContent: title}), element('p', {textContent: note}),
      element('div', {className: 'canvas'}, element('canvas')),
      element('details', {}, element('summary', {textContent: 'The numbers'}), element('div', {className: 'numbers'})));
    section.querySelector('canvas').setAttribute('role', 'img');
    section.querySelector('canvas').setAttribute('aria-label', title);
    document.getElementById('charts').append(section);
  };

  const draw = (id, height, config, heads, lines) => {
    const section = document.getElementById(id);
    section.querySelector('.canvas').style.height = `${height}px`;
    section.querySelector('.numbers').replaceChildren(table(heads, lines));
    if (charts[id]) charts[id].destroy();
    charts[id] = new Chart(section.querySelector('canvas'), config);
  };

  // Height of a chart with its legend below: on a phone every entry has a line of its own.
  const heightWithLegend = entries => 380 + (window.innerWidth < 600 ? 24 * entries : 24 * Math.ceil(entries / 6));

  const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // ---- parts of charts --------------------------------------------------------------------------------------------

  const axis = (text, type = 'logarithmic', more = {}) => ({
    type, title: {display: true, text, color: css('--faint')}, grid: {color: css('--line')},
    ticks: {color: css('--faint'), ...(type === 'logarithmic' ? {autoSkip: false, callback: value => digits(value)} : {})},
    ...(type === 'logarithmic' ? {afterBuildTicks: keepRoundTicks} : {}), ...more});

  // 1, 2 and 5 of every decade.
  function keepRoundTicks(scale) {
    scale.ticks = scale.ticks.filter(({value}) =>
      [1, 2, 5].includes(Math.round(1e6 * value / 10 ** Math.floor(Math.log10(value) + 1e-9)) / 1e6));
  }

  const sequenceAxis = seqs => axis('sequence length', 'logarithmic', {
    min: Math.min(...seqs), max: Math.max(...seqs),
    afterBuildTicks: scale => { scale.ticks = seqs.map(value => ({value})); },
    ticks: {color: css('--faint'), autoSkip: false, maxRotation: 60, callback: String}});

  // Dashed lines with labels: [{value, label, color}] on the axis x or y.
  const lines = (axisName, marks) => ({
    id: 'lines',
    afterDatasetsDraw(chart) {
      const {ctx, chartArea: {left, right, top, bottom}, scales} = chart;
      ctx.save();
      ctx.font = '11px sans-serif';
      marks.forEach((mark, i) => {
        const at = scales[axisName].getPixelForValue(mark.value);
        const inside = axisName === 'x' ? at >= left && at <= right : at >= top && at <= bottom;
        if (!inside) return;
        ctx.strokeStyle = ctx.fillStyle = mark.color;
        ctx.setLineDash([5, 4]);
        ctx.beginPath();
        if (axisName === 'x') { ctx.moveTo(at, top); ctx.lineTo(at, bottom); }
        else { ctx.moveTo(left, at); ctx.lineTo(right, at); }
        ctx.stroke();
        if (axisName === 'x') {
          ctx.textAlign = at + 4 + ctx.measureText(mark.label).width > chart.width ? 'right' : 'left';
          ctx.fillText(mark.label, at + (ctx.textAlign === 'left' ? 4 : -4), top - 6 - 13 * (i % 10));
        } else {
          ctx.textAlign = 'right';
          ctx.fillText(mark.label, right - 4, at - 4);
        }
      });
      ctx.restore();
    }});

  // The range from p10 to p90 over each bar of a horizontal chart.
  const whiskers = {
    id: 'whiskers',
    afterDatasetsDraw(chart) {
      const {ctx, scales: {x}} = chart;
      ctx.save();
      ctx.strokeStyle = css('--ink');
      chart.data.datasets.forEach((dataset, i) => chart.getDatasetMeta(i).data.forEach((bar, j) => {
        const row = dataset.rows[j];
        if (!row) return;
        ctx.beginPath();
        ctx.moveTo(x.getPixelForValue(row.p10), bar.y);
        ctx.lineTo(x.getPixelForValue(row.p90), bar.y);
        ctx.stroke();
      }));
      ctx.restore();
    }};

  const options = (scales, label, more = {}) => ({
    responsive: true, maintainAspectRatio: false, animation: false, scales,
    plugins: {
      legend: {display: false, labels: {color: css('--ink'), boxWidth: 14}},
      tooltip: {callbacks: {label}}},
    ...more});

  const withLegend = config => {
    config.plugins.legend.display = true;
    config.plugins.legend.position = 'bottom';
    return config;
  };

  // ---- charts -----------------------------------------------------------------------------------------------------

  const ofLadder = file => rows.filter(row => row.kind === 'stage' && row.file === file && row.shape === choice.shape &&
    row.mode === choice.mode);
  const suffix = file => several ? ` (${fileName(file)})` : '';

  function marksOfLadder() {
    return results.flatMap((_, file) => {
      const libraries = hidden.has('pytorch') ? [] : rows.filter(row => row.kind === 'library' && row.file === file &&
        row.shape === choice.shape && row.mode === choice.mode);
      const empty = floor(file, choice.mode);
      return [...libraries, ...(empty ? [empty] : [])].map(row => ({
        value: row.us, color: row.kind === 'floor' ? css('--faint') : color(row),
        label: `${row.kind === 'floor' ? 'launch floor' : row.variant} ${digits(row.us)}${suffix(file)}`}));
    });
  }

  function drawLadder() {
    const names = unique(results.flatMap((_, file) => ofLadder(file).filter(shown).map(seriesName)));
    const datasets = results.map((_, file) => {
      const found = names.map(name => ofLadder(file).find(row => seriesName(row) === name) || null);
      return {label: fileName(file), rows: found, data: found.map(row => row && row.us), minBarLength: 2,
              backgroundColor: found.map(row => row && withAlpha(color(row), file ? 0.45 : 0.9))};
    });
    const marks = marksOfLadder();
    const labelSpace = 13 * Math.min(10, marks.length);
    const values = [...datasets.flatMap(set => set.data).filter(Boolean), ...marks.map(mark => mark.value)];
    const config = options(
      {x: axis('microseconds per call, log scale', 'logarithmic',
               {min: Math.min(...values) * 0.7, max: Math.max(...values) * 1.2}),
       y: axis('', 'category', {grid: {display: false}, title: {display: false}})},
      item => {
        const row = item.dataset.rows[item.dataIndex];
        return [`${digits(row.us)} us, p10 ${digits(row.p10)}, p90 ${digits(row.p90)}${suffix(row.file)}`,
                `${digits(row.tflops)} TFLOP/s, launch floor ${digits(row.floor)} us`, row.idea];
      },
      {indexAxis: 'y', layout: {padding: {top: 12 + labelSpace}}});
    draw('ladder', 70 + labelSpace + 24 * names.length * (several ? 1.5 : 1),
      {type: 'bar', data: {labels: names, datasets}, options: several ? withLegend(config) : config,
       plugins: [whiskers, lines('x', marks)]},
      ['variant', 'idea', 'us', 'p10', 'p90', 'TFLOP/s', 'GB/s', 'launch floor us', 'results'],
      datasets.flatMap(set => set.rows.filter(Boolean)).map(row =>
        [seriesName(row), row.idea, row.us, row.p10, row.p90, row.tflops, row.gbs, row.floor, fileName(row.file)]));
  }

  function drawWaterfall() {
    const steps = results.flatMap((_, file) => {
      const found = ofLadder(file);
      return found.slice(1).map((row, i) => ({row, before: found[i]})).filter(step => shown(step.row));
    });
    const names = unique(steps.map(step => seriesName(step.row)));
    const datasets = results.map((_, file) => {
      const own = names.map(name => steps.find(step => step.row.file === file && seriesName(step.row) === name) || null);
      return {label: fileName(file), steps: own,
              data: own.map(step => step && [step.row.us, step.before.us].sort((a, b) => a - b)), minBarLength: 2,
              backgroundColor: own.map(step => step &&
                withAlpha(step.row.us <= step.before.us ? '#2a9d74' : '#d1495b', file ? 0.45 : 0.9))};
    });
    const values = steps.flatMap(step => [step.row.us, step.before.us]);
    const gain = step => step.before.us / step.row.us;
    const config = options(
      {x: axis('microseconds per call, log scale', 'logarithmic',
               {min: Math.min(...values) * 0.7, max: Math.max(...values) * 1.2}),
       y: axis('', 'category', {grid: {display: false}, title: {display: false}})},
      item => {
        const step = item.dataset.steps[item.dataIndex];
        return [`${digits(step.before.us)} to ${digits(step.row.us)} us: ${digits(gain(step))}x${suffix(step.row.file)}`,
                step.row.idea];
      },
      {indexAxis: 'y'});
    draw('waterfall', 80 + 24 * names.length * (several ? 1.5 : 1),
      {type: 'bar', data: {labels: names, datasets}, options: several ? withLegend(config) : config},
      ['variant', 'idea', 'before us', 'now us', 'times faster', 'results'],
      steps.map(step => [seriesName(step.row), step.row.idea, step.before.us, step.row.us, gain(step),
                         fileName(step.row.file)]));
  }

  // One line for each variant or library that was timed at several lengths.
  function linesOverLength(value) {
    const own = rows.filter(row => isAttention(row) && shown(row) && row.mode === 'chain' &&
      family(row) === choice.family);
    const keys = unique(own.map(row => `${row.file} ${seriesName(row)}`));
    const datasets = keys.map(key => {
      const points = own.filter(row => `${row.file} ${seriesName(row)}` === key).sort((a, b) => a.seq_q - b.seq_q);
      const row = points[0];
      return {label: seriesName(row) + suffix(row.file), rows: points,
              data: points.map(point => ({x: point.seq_q, y: value(point)})),
              borderColor: color(row), backgroundColor: color(row), borderWidth: 2, pointRadius: 3,
              borderDash: row.file ? [6, 3] : [], pointStyle: row.kind === 'library' ? 'triangle' : 'circle'};
    }).filter(set => set.data.length > 1);
    return {datasets, seqs: unique(own.map(row => row.seq_q)).sort((a, b) => a - b),
            found: datasets.flatMap(set => set.rows)};
  }

  const tableOverLength = found => [
    ['variant or library', 'shape', 'us', 'p10', 'p90', 'TFLOP/s', 'GB/s', 'results'],
    found.map(row => [seriesName(row), row.shape, row.us, row.p10, row.p90, row.tflops, row.gbs, fileName(row.file)])];

  const pointLabel = item => {
    const row = item.dataset.rows[item.dataIndex];
    return `${item.dataset.label}, ${row.shape}: ${digits(row.us)} us, ${digits(row.tflops)} TFLOP/s`;
  };

  function drawTimes() {
    const {datasets, seqs, found} = linesOverLength(row => row.us);
    draw('times', heightWithLegend(datasets.length), {type: 'line', data: {datasets},
      options: withLegend(options({x: sequenceAxis(seqs), y: axis('microseconds per call')}, pointLabel))},
      ...tableOverLength(found));
  }

  function drawRates() {
    const {datasets, seqs, found} = linesOverLength(row => row.tflops);
    const marks = results.flatMap((_, file) => {
      const product = ceiling(file, 'matrix_product');
      return product ? [{value: product.tflops, color: css('--faint'),
                         label: `8192^3 matrix product: ${digits(product.tflops)} TFLOP/s${suffix(file)}`}] : [];
    });
    const top = Math.max(...found.map(row => row.tflops), ...marks.map(mark => mark.value)) * 1.08;
    draw('rates', heightWithLegend(datasets.length), {type: 'line', data: {datasets},
      options: withLegend(options({x: sequenceAxis(seqs), y: axis('TFLOP/s', 'linear', {min: 0, suggestedMax: top})},
                                  pointLabel)),
      plugins: [lines('y', marks)]}, ...tableOverLength(found));
  }

  function drawRoofline() {
    const own = rows.filter(row => isAttention(row) && shown(row) && row.mode === 'chain' && row.tflops);
    const keys = unique(own.map(row => `${row.file} ${row.who}`));
    const points = keys.map(key => {
      const found = own.filter(row => `${row.file} ${row.who}` === key);
      return {label: found[0].who + suffix(found[0].file), rows: found, showLine: false, pointRadius: 4,
              data: found.map(row => ({x: row.flop / row.bytes, y: row.tflops})),
              backgroundColor: found.map(row => withAlpha(color(row), 0.8)), borderColor: color(found[0]),
              pointStyle: found[0].kind === 'library' ? 'triangle' : found[0].file ? 'rect' : 'circle'};
    });
    const intensities = own.map(row => row.flop / row.bytes);
    const from = Math.min(...intensities) / 4, to = Math.max(...intensities) * 1.5;
    const roofs = results.flatMap((_, file) => {
      const copy = ceiling(file, 'copy'), product = ceiling(file, 'matrix_product');
      if (!copy) return [];
      const slope = copy.gbs / 1000;  // TFLOP/s at one FLOP per byte
      const flat = product ? product.tflops : Infinity;
      const xs = [from, Math.min(flat / slope, to), to];
      return [{label: `roof: ${digits(copy.gbs)} GB/s${product ? `, ${digits(flat)} TFLOP/s` : ''}${suffix(file)}`,
               rows: [], data: xs.map(x => ({x, y: Math.min(x * slope, flat)})), showLine: true, pointRadius: 0,
               pointHitRadius: 0, borderColor: css('--ink'), backgroundColor: css('--ink'), borderWidth: 2,
               borderDash: file ? [6, 3] : []}];
    });
    draw('roofline', heightWithLegend(points.length + roofs.length), {type: 'scatter', data: {datasets: [...points, ...roofs]},
      options: withLegend(options({x: axis('FLOP per byte of Q, K, V and O', 'logarithmic', {min: from, max: to}),
                                   y: axis('TFLOP/s')},
        item => {
          const row = item.dataset.rows[item.dataIndex];
          return row ? `${seriesName(row)}, ${row.shape}: ${digits(row.tflops)} TFLOP/s` : item.dataset.label;
        }))},
      ['variant or library', 'shape', 'FLOP per byte', 'TFLOP/s', 'GB/s', 'results'],
      own.map(row => [seriesName(row), row.shape, row.flop / row.bytes, row.tflops, row.gbs, fileName(row.file)]));
  }

  function drawRatio() {
    const own = rows.filter(row => row.kind === 'stage' && shown(row) && row.mode === choice.mode)
      .map(row => ({row, library: bestLibrary(row.file, row.shape, row.mode)})).filter(pair => pair.library);
    const shapes = unique(own.map(pair => pair.row.shape));
    const keys = unique(own.map(pair => `${pair.row.file} ${pair.row.who}`));
    // A stage's fastest variant on each shape.
    const datasets = keys.map(key => {
      const found = shapes.map(shape => own.filter(pair => `${pair.row.file} ${pair.row.who}` === key &&
        pair.row.shape === shape).reduce((best, pair) => !best || pair.row.us < best.row.us ? pair : best, null));
      const {row} = found.find(Boolean);
      return {label: row.who + suffix(row.file), pairs: found, data: found.map(pair => pair && pair.library.us / pair.row.us),
              borderColor: color(row), backgroundColor: color(row), borderWidth: 2, pointRadius: 4, spanGaps: false,
              borderDash: row.file ? [6, 3] : []};
    });
    const pairs = datasets.flatMap(set => set.pairs.filter(Boolean));
    draw('ratio', 60 + heightWithLegend(datasets.length), {type: 'line', data: {labels: shapes, datasets},
      options: withLegend(options(
        {x: axis('', 'category', {title: {display: false}, ticks: {color: css('--faint'), autoSkip: false, maxRotation: 90,
                                                                  font: {size: 10}}}),
         y: axis('best library\'s time / ours', 'logarithmic', {suggestedMax: 1.3})},
        item => {
          const {row, library} = item.dataset.pairs[item.dataIndex];
          return `${seriesName(row)}: ${digits(library.us / row.us)} of ${library.variant} (${digits(row.us)} us, ` +
            `library ${digits(library.us)} us)${suffix(row.file)}`;
        })),
      plugins: [lines('y', [{value: 1, color: css('--faint'), label: 'as fast as the best library'}])]},
      ['variant', 'shape', 'us', 'best library', 'its us', 'its us / ours', 'results'],
      pairs.map(({row, library}) => [seriesName(row), row.shape, row.us, library.variant, library.us, library.us / row.us,
                                   fileName(row.file)]));
  }

  function makePlaces() {
    place('ladder', 'The ladder', 'One bar per variant in teaching order, with its range from p10 to p90. Dashed lines: the libraries, ' +
      'and an empty kernel launched the same way.');
    place('waterfall', 'What each idea bought',
      'Each bar goes from the time of the variant before to the variant\'s own time; green is faster, red is slower.');
    if (families.length) {
      place('times', 'Time against sequence length', 'Mode chain. The default variant of every stage, and the libraries.');
      place('rates', 'TFLOP/s against sequence length',
        'We count 4 x head_dim FLOP for each pair of query and key that the mask lets through. ' +
        'The ceiling is a large matrix product by cuBLAS in the same run.');
    }
    place('roofline', 'Roofline', 'Mode chain. The roof is the rate of a copy and of a large matrix product in the same run. Points far ' +
      'below it are bound by latency, or by work other than the two products.');
    if (rows.some(row => row.kind === 'library')) {
      place('ratio', 'Compared with the best library',
        'The best library\'s time divided by the time of the stage\'s fastest variant. Above 1, the variant is ' +
        'faster than every library that PyTorch calls.');
    }
  }

  function drawAll() {
    if (!ladderShapes.length) return;
    Chart.defaults.color = css('--faint');
    drawLadder();
    drawWaterfall();
    if (families.length) {
      drawTimes();
      drawRates();
    }
    drawRoofline();
    if (rows.some(row => row.kind === 'library')) drawRatio();
  }

  // ---- what is not a chart ----------------------------------------------------------------------------------------

  function describeResults() {
    const about = document.getElementById('about');
    for (const {file, label, about: facts} of results) {
      about.append(element('div', {className: 'file'},
        element('strong', {textContent: `${facts.gpu}${several ? ` (${label})` : ''}`}),
        ` - recorded ${facts.date.slice(0, 10)} at commit ${facts.commit.slice(0, 12)}` +
        `${facts.dirty === 'true' ? ' with changes' : ''}; driver ${facts.driver}, CUDA ${facts.cuda}; libraries: ` +
        `${facts.libraries}; before: ${facts.state_before}; after: ${facts.state_after}; ${file}: ${facts.command}`));
    }
  }

  function describeRuns() {
    const section = document.getElementById('runs');
    for (const run of runs) {
      section.hidden = false;
      const counters = unique(run.rows.flatMap(row => Object.keys(row.counters)));
      const timed = run.rows.some(row => row.us !== null);
      const note = !run.emulated ? 'Checked and timed here.' : 'The emulated device checks results and counts events; it has no times. ' +
        (results.length ? 'The times below were recorded on the GPU that is named with them.' : 'No times are recorded yet.');
      section.append(
        element('p', {textContent: `${run.problem} on ${run.device}. ${note}`}),
        table(['variant', 'verdict', 'error', 'allowed', ...(timed ? ['us'] : []), ...counters],
          run.rows.map(row => [`${row.stage}/${row.variant}`, row.verdict, row.error, row.allowed,
                               ...(timed ? [row.us] : []), ...counters.map(name => row.counters[name])])));
    }
  }

  function listMissing() {
    const missing = results.flatMap(result => result.not_measured.map(entry => [entry.name, entry.reason, result.label]));
    const section = document.getElementById('missing');
    section.hidden = missing.length === 0;
    section.append(table(['benchmark', 'why', 'results'], missing));
  }

  function fillControls() {
    for (const [id, values] of [['shape', ladderShapes], ['mode', modes], ['family', families]]) {
      const select = document.getElementById(id);
      select.append(...values.map(value => element('option', {value, textContent: value})));
      select.addEventListener('change', () => { choice[id] = select.value; drawAll(); });
    }
    for (const group of groups) {
      const box = element('input', {type: 'checkbox', checked: true, name: group});
      box.addEventListener('change', () => {
        if (box.checked) hidden.delete(group); else hidden.add(group);
        drawAll();
      });
      document.getElementById('stages').append(element('label', {}, box, ` ${group}`));
    }
  }

  function setTheme(theme) {
    document.documentElement.dataset.theme = theme;
    drawAll();
  }

  if (ladderShapes.length) makePlaces();
  else document.getElementById('controls').hidden = true;
  describeResults();
  describeRuns();
  listMissing();
  fillControls();
  const dark = window.matchMedia('(prefers-color-scheme: dark)');
  dark.addEventListener('change', () => setTheme(dark.matches ? 'dark' : 'light'));
  document.getElementById('theme').addEventListener('click', () =>
    setTheme(document.documentElement.dataset.theme === 'dark' ? 'light' : 'dark'));
  setTheme(dark.matches ? 'dark' : 'light');
  window.attentionCharts = charts;
})();
