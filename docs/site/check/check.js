// Loads every page of the book in a frame, at the width of a desk and of a phone, and reports what is wrong as text.
// check.sh runs it in headless Chromium, once in light and once in dark. `pages`, `others` (files in
// folders below) and `dark` come from check.sh.
'use strict';

const problems = [];
const anchors = new Map();  // page -> set of ids
const links = [];           // [page, href]
const complain = (where, what) => problems.push(where + ': ' + what);

function frameFor(width, height) {
  const frame = document.createElement('iframe');
  frame.style.cssText = `width:${width}px;height:${height}px;border:0`;
  document.body.append(frame);
  return frame;
}

function show(frame, page) {
  return new Promise((resolve) => {
    frame.onload = () => resolve(frame.contentDocument);
    frame.src = '../html/' + page;
  });
}

const rested = () => new Promise((resolve) => setTimeout(resolve, 30));

function collectLinks(page, doc) {
  anchors.set(page, new Set([...doc.querySelectorAll('[id],a[name]')].flatMap((e) => [e.id, e.getAttribute('name')])));
  for (const a of doc.querySelectorAll('a[href]')) links.push([page, a.getAttribute('href')]);
}

function checkLinks() {
  for (const [page, href] of links) {
    if (/^(https?:|mailto:|javascript:)/.test(href)) {
      complain(page, 'leads outside the book: ' + href);
      continue;
    }
    const [file, anchor] = href.split('#');
    const target = file === '' ? page : file;
    if (!anchors.has(target) && !others.includes(target)) complain(page, 'no such page: ' + href);
    else if (anchor && anchors.has(target) && !anchors.get(target).has(decodeURIComponent(anchor))) complain(page, 'no such anchor: ' + href);
  }
}

function checkPage(where, doc, width) {
  const win = doc.defaultView;
  if (doc.querySelector('.katex-error')) complain(where, 'TeX: ' + doc.querySelector('.katex-error').title);
  // A command that KaTeX does not know is set in its error colour.
  const unknown = doc.querySelector('.katex [style*="#cc0000"], .katex [style*="204, 0, 0"], .katex [mathcolor="#cc0000"]');
  if (unknown) complain(where, 'TeX: ' + unknown.textContent);
  for (const e of doc.querySelectorAll('.textblock p, .textblock li, .textblock td, figcaption')) {
    const text = [...e.childNodes].filter((n) => n.nodeType === 3).map((n) => n.data).join(' ');
    if (/\\\(|\\\[|\\f[$[{]|\\begin\{/.test(text)) complain(where, 'TeX that was not set: ' + text.slice(0, 80));
    if (/`|\*\*/.test(text)) complain(where, 'Markdown in the text: ' + text.slice(0, 80));
    if (/\\(ref|snippet|include|htmlinclude|dontinclude|skip|until)\b/.test(text)) complain(where, 'a command in the text: ' + text.slice(0, 80));
  }
  for (const image of doc.images) if (!image.naturalWidth) complain(where, 'picture missing: ' + image.src);
  for (const block of doc.querySelectorAll('.fragment')) {
    if (!block.querySelector('.line')) complain(where, 'a block of code without code');
  }
  for (const entry of win.performance.getEntriesByType('resource')) {
    if (!entry.name.startsWith('file:')) complain(where, 'loads ' + entry.name);
  }
  const excess = doc.documentElement.scrollWidth - width;
  if (excess > 0) {
    const wide = [...doc.querySelectorAll('#page *')].find((e) => !e.closest('.scroll,.lines,.katex-display,.formulaDsp,.memproto') && e.getBoundingClientRect().right > width + 1);
    complain(where, `${excess} px wider than the window` + (wide ? ': ' + wide.outerHTML.slice(0, 90) : ''));
  }
  const paper = win.getComputedStyle(doc.body).backgroundColor.match(/\d+/g).map(Number);
  if ((paper[0] < 128) !== dark) complain(where, 'background ' + paper + ' in ' + (dark ? 'dark' : 'light'));
  if (!doc.querySelector('#tree a[href]')) complain(where, 'no tree of contents');
}

async function checkBehaviour(desk, phone) {
  let doc = await show(desk, 'stage_naive.html');
  const win = () => desk.contentWindow;
  const press = (key) => doc.body.dispatchEvent(new (win().KeyboardEvent)('keydown', { key, bubbles: true }));

  if (doc.querySelectorAll('#toc a').length < 5) complain('stage_naive.html', 'no contents on the right');
  if (doc.querySelectorAll('.fragment .copy').length < 3) complain('stage_naive.html', 'no copy buttons');
  if (!doc.querySelector('.fragment .cuda')) complain('stage_naive.html', 'CUDA is not coloured');
  if ([...doc.querySelectorAll('.line')].some((l) => /^\s*\/\/ \[\w+\]\s*$/.test(l.textContent))) complain('stage_naive.html', 'a snippet marker shows');

  press('/');
  if (doc.activeElement.id !== 'query') complain('search', '/ does not focus it');
  const query = doc.getElementById('query');
  for (const [words, page] of [['online softmax', 'attention_page'], ['bank conflict', ''], ['Milakov', 'further_reading'], ['warp_reduce_sum', '']]) {
    query.value = words;
    query.dispatchEvent(new (win().Event)('input', { bubbles: true }));
    for (let i = 0; i < 50 && (doc.getElementById('hits').hidden || !doc.querySelector('#hits a')); ++i) await rested();
    const found = [...doc.querySelectorAll('#hits a')].map((a) => a.getAttribute('href'));
    if (!found.some((url) => url.startsWith(page))) complain('search', `'${words}' finds ${found.slice(0, 3)}`);
  }
  query.blur();
  press('Escape');
  if (!doc.getElementById('hits').hidden) complain('search', 'Escape does not close it');

  const before = doc.documentElement.dataset.theme;
  doc.getElementById('theme').click();
  if (doc.documentElement.dataset.theme === before) complain('theme', 'the button does nothing');
  doc.getElementById('theme').click();

  const next = doc.querySelector('.turn .next')?.getAttribute('href');
  const turned = new Promise((resolve) => { desk.onload = resolve; });
  press('ArrowRight');
  await Promise.race([turned, new Promise((resolve) => setTimeout(resolve, 3000))]);
  if (!next || !win().location.href.endsWith(next)) complain('keys', 'the right arrow does not turn the page');

  doc = await show(desk, 'stage_tiled.html');
  if (doc.querySelectorAll('.diff .add').length < 20 || !doc.querySelector('.diff .del')) complain('stage_tiled.html', 'the diff is not coloured');

  doc = await show(phone, 'machine.html');
  const tree = doc.getElementById('tree');
  const shown = () => phone.contentWindow.getComputedStyle(tree).display !== 'none';
  if (shown()) complain('phone', 'the tree covers the page');
  doc.getElementById('menu').click();
  if (!shown()) complain('phone', 'the menu button does not open the tree');
}

// Frames keep the load event waiting, and Chromium prints the page after it; so the list of what is wrong is complete
// when it is printed.
(async () => {
  const desk = frameFor(1400, 900), phone = frameFor(390, 800);
  for (const page of pages) {
    for (const [frame, name] of [[desk, 'desk'], [phone, 'phone']]) {
      const doc = await show(frame, page);
      if (frame === desk) collectLinks(page, doc);
      checkPage(`${page} (${name}, ${dark ? 'dark' : 'light'})`, doc, frame.clientWidth);
    }
  }
  await checkBehaviour(desk, phone);
  checkLinks();
  document.body.textContent = ['BEGIN', ...problems.map((p) => 'problem ' + p), `END ${pages.length} pages, ${links.length} links, ${problems.length} problems`].join('\n');
})().catch((error) => { document.body.textContent = 'BEGIN\nproblem ' + error.stack + '\nEND'; });
