// SPDX-License-Identifier: Apache-2.0
//
// Makes and changes elements. Texts reach the page only as text nodes, so that nothing
// that a peer sent can become HTML.

const svgNamespace = 'http://www.w3.org/2000/svg';

// el returns an element with attributes and children. A child is a node or a text.
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

// svg is el for the elements of a drawing.
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(svgNamespace, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, '');
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child != null && child !== false));
  return node;
}

// setText writes a text only if it differs: a selection in an unchanged text stays.
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// setAttribute writes an attribute only if it differs, and removes it for null.
export function setAttribute(node, name, value) {
  if (value == null) node.removeAttribute(name);
  else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

// show shows or hides an element.
export function show(node, visible) {
  if (node.hidden === visible) node.hidden = !visible;
}

// Each level has its own shape, so that states differ without colours.
const shapes = {
  ok: 'M8 1.5a6.5 6.5 0 1 1 0 13a6.5 6.5 0 1 1 0-13z',
  warn: 'M8 1.2 15.2 14.4H.8z',
  bad: 'M1.5 4 4 1.5 8 5.5 12 1.5 14.5 4 10.5 8 14.5 12 12 14.5 8 10.5 4 14.5 1.5 12 5.5 8z',
  none: 'M8 1.5a6.5 6.5 0 1 1 0 13a6.5 6.5 0 1 1 0-13zm0 2.2a4.3 4.3 0 1 0 0 8.6a4.3 4.3 0 1 0 0-8.6z',
};

// mark returns the shape of a level. The word beside it says the same.
export function mark(level) {
  const path = svg('path', { 'fill-rule': 'evenodd' });
  const node = svg('svg', { class: 'mark', viewBox: '0 0 16 16', 'aria-hidden': 'true' }, path);
  setLevel(node, level);
  return node;
}

// setLevel changes the shape of a mark.
export function setLevel(node, level) {
  setAttribute(node, 'data-level', level);
  setAttribute(node.firstChild, 'd', shapes[level] ?? shapes.none);
}

// keyed makes the children of parent show items, in their order. An item keeps its element
// as long as its key is there. create returns an object with the element, node, and a
// function update(item).
export function keyed(parent, items, keyOf, create) {
  const rows = parent.keyedRows ?? new Map();
  const next = new Map();
  let place = parent.firstChild;
  for (const item of items) {
    let key = keyOf(item);
    while (next.has(key)) key += ' '; // two equal keys
    const row = rows.get(key) ?? create(item);
    row.update(item);
    next.set(key, row);
    if (row.node === place) place = place.nextSibling;
    else parent.insertBefore(row.node, place);
  }
  while (place) {
    const after = place.nextSibling;
    place.remove();
    place = after;
  }
  parent.keyedRows = next;
}
