// What a page needs a browser for: formulas, colours, the menu, copying, search, keys. Pages read well without it.
'use strict';

const page = document.documentElement;
const by = (id) => document.getElementById(id);

// ---- formulas ----
for (const formula of document.querySelectorAll('.formulaDsp')) {
  const tex = formula.textContent.trim().replace(/^\\\[([^]*)\\\]$/, '$1');
  katex.render(tex, formula, { displayMode: true, throwOnError: false });
}
renderMathInElement(by('page'), {
  delimiters: [{ left: '\\(', right: '\\)', display: false }],
  ignoredClasses: ['fragment', 'katex'],
  throwOnError: false,
});

// ---- light and dark ----
by('theme').addEventListener('click', () => {
  page.dataset.theme = page.dataset.theme === 'dark' ? 'light' : 'dark';
  try {
    localStorage.setItem('theme', page.dataset.theme);
  } catch {
    // A browser that keeps nothing for files from disk: the choice holds for this page.
  }
  window.dispatchEvent(new Event('themechange'));
});

// ---- the tree on a phone ----
function openTree(open) {
  document.body.classList.toggle('tree-open', open);
  by('menu').setAttribute('aria-expanded', String(open));
}
by('menu').addEventListener('click', () => openTree(!document.body.classList.contains('tree-open')));
by('tree').addEventListener('click', (event) => {
  if (event.target.closest('a')) openTree(false);
});
by('tree').querySelector('[aria-current]')?.scrollIntoView({ block: 'nearest' });

// ---- copy buttons ----
for (const block of document.querySelectorAll('.fragment')) {
  const button = document.createElement('button');
  button.type = 'button';
  button.className = 'copy';
  button.textContent = 'copy';
  button.addEventListener('click', async () => {
    const lines = [...block.querySelectorAll('.line')].map((line) => {
      const copy = line.cloneNode(true);
      for (const number of copy.querySelectorAll('.lineno')) number.remove();
      return copy.textContent.replace(/\s+$/, '');
    });
    try {
      await navigator.clipboard.writeText(lines.join('\n') + '\n');
      button.textContent = 'copied';
    } catch {
      getSelection().selectAllChildren(block.querySelector('.lines') ?? block);
      button.textContent = 'selected';
    }
    setTimeout(() => { button.textContent = 'copy'; }, 1500);
  });
  block.append(button);
}

// ---- where on the page the reader is ----
const entries = new Map([...by('toc').querySelectorAll('a')].map((a) => [decodeURIComponent(a.hash.slice(1)), a]));
const headings = [...entries.keys()].map(by).filter(Boolean);
function markPlace() {
  let here = headings[0];
  for (const heading of headings) {
    if (heading.getBoundingClientRect().top < 120) here = heading;
  }
  for (const [id, a] of entries) a.classList.toggle('here', here !== undefined && id === here.id);
}
addEventListener('scroll', markPlace, { passive: true });
markPlace();

// ---- search ----
// The index is a script, since a page from disk may not fetch; it is loaded at the first search.
let index = null;
function loadIndex() {
  index ??= new Promise((resolve) => {
    const script = document.createElement('script');
    script.src = 'search-index.js';
    script.onload = () => resolve(window.searchIndex);
    document.head.append(script);
  });
  return index;
}

// Every word must be there; words in a heading count for more, and chapters for more than the reference.
function find(sections, query) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.join('').length < 2) return null;
  return sections.map((section) => {
    const heading = (section.page + ' ' + section.heading).toLowerCase(), text = section.text.toLowerCase();
    let score = 0;
    for (const word of words) {
      const times = text.split(word).length - 1, inHeading = heading.includes(word);
      if (times === 0 && !inHeading) return null;
      score += Math.min(times, 6) + (inHeading ? 12 : 0);
    }
    return { section, words, score: section.chapter ? score * 3 : score };
  }).filter(Boolean).sort((a, b) => b.score - a.score).slice(0, 15);
}

function hitElement({ section, words }) {
  const a = document.createElement('a'), small = document.createElement('small');
  a.href = section.url;
  a.append(section.heading && section.heading !== section.page ? section.page + ' \u203a ' + section.heading : section.page);
  const at = Math.max(0, section.text.toLowerCase().indexOf(words[0]) - 40);
  const excerpt = (at > 0 ? '\u2026' : '') + section.text.slice(at, at + 150) + '\u2026';
  const pattern = new RegExp('(' + words.map((w) => w.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('|') + ')', 'i');
  for (const piece of excerpt.split(pattern)) {
    if (pattern.test(piece)) {
      const mark = document.createElement('mark');
      mark.textContent = piece;
      small.append(mark);
    } else {
      small.append(piece);
    }
  }
  a.append(small);
  return a;
}

const query = by('query'), hits = by('hits');
query.addEventListener('input', async () => {
  const found = find(await loadIndex(), query.value);
  hits.hidden = found === null;
  const nothing = document.createElement('p');
  nothing.textContent = 'Nothing found.';
  hits.replaceChildren(...(found?.length ? found.map(hitElement) : [nothing]));
});
query.addEventListener('keydown', (event) => {
  const links = [...hits.querySelectorAll('a')];
  const chosen = links.findIndex((a) => a.classList.contains('chosen'));
  if (event.key === 'Enter') (links[chosen] ?? links[0])?.click();
  if (event.key !== 'ArrowDown' && event.key !== 'ArrowUp') return;
  event.preventDefault();
  links[chosen]?.classList.remove('chosen');
  const next = links[(chosen + (event.key === 'ArrowDown' ? 1 : links.length - 1) + (chosen < 0 && event.key === 'ArrowUp' ? 1 : 0)) % links.length];
  next?.classList.add('chosen');
  next?.scrollIntoView({ block: 'nearest' });
});
document.addEventListener('click', (event) => {
  if (!event.target.closest('#search')) hits.hidden = true;
});

// ---- keys ----
document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape') {
    hits.hidden = true;
    openTree(false);
  }
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest('input, textarea, select')) return;
  if (event.key === '/') {
    event.preventDefault();
    query.focus();
  }
  if (event.target.closest('.lines, .scroll')) return;  // there the arrows scroll
  if (event.key === 'ArrowLeft') document.querySelector('.turn .previous')?.click();
  if (event.key === 'ArrowRight') document.querySelector('.turn .next')?.click();
});
