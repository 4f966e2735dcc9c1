"use strict";
// Elements, and names in them. Names are data: they are only ever inserted as text nodes.

const at = (id) => document.getElementById(id);

function make(tag, kind, ...inner) {
  const element = document.createElement(tag);
  if (kind) element.className = kind;
  element.append(...inner);
  return element;
}

function button(kind, act, ...inner) {
  const element = make("button", kind, ...inner);
  element.type = "button";
  element.addEventListener("click", act);
  return element;
}

function drawn(tag, attributes, ...inner) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...inner);
  return element;
}

// Replace the children, keeping the focus on the one with the same value.
function swap(element, ...children) {
  const value = element.contains(document.activeElement) ? document.activeElement.dataset.value : undefined;
  element.replaceChildren(...children);
  if (value === undefined) return;
  const same = [...element.querySelectorAll("[data-value]")].find((child) => child.dataset.value === value);
  same?.focus({ preventScroll: true });
}

const number = new Intl.NumberFormat("en").format;

// "1 album", "2 albums".
function some(count, what) {
  return `${number(count)} ${count === 1 ? what.slice(0, -1) : what}`;
}

function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

// For a search that ignores case and accents.
function folded(text) {
  return text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
}

// Invisible characters, and those that reorder a text.
const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\u2800]|(?! )\p{Zs}/gu;
const SHORT = new Map([
  ["\b", "\\b"],
  ["\t", "\\t"],
  ["\n", "\\n"],
  ["\f", "\\f"],
  ["\r", "\\r"],
]);

function escaped(char) {
  const code = char.codePointAt(0);
  const [letter, digits] = code > 0xffff ? ["U", 8] : ["u", 4];
  return SHORT.get(char) ?? `\\${letter}${code.toString(16).padStart(digits, "0")}`;
}

// A basic string of TOML, in which all characters are visible and Unicode normalisation changes nothing.
function toml(text) {
  const plain = text.replace(/["\\]/g, "\\$&").replace(UNSEEN, escaped);
  return `"${plain.normalize("NFC") === plain ? plain : plain.replace(/[^\x20-\x7e]/gu, escaped)}"`;
}

// Approximate grapheme clusters: a code point and its combining marks.
function characters(text) {
  return text.match(/[^]\p{M}*/gu) ?? [];
}

// A name in bidi isolation, with invisible characters spelled out. `differs` has a flag for each character to mark.
function named(text, differs = []) {
  const name = make("bdi", "name");
  if (!differs.includes(true) && text.trim() === text && text.search(UNSEEN) < 0) {
    name.textContent = text;
    return name;
  }
  const all = characters(text);
  const start = all.findIndex((char) => char !== " ");
  const end = all.findLastIndex((char) => char !== " ");
  let into = name;
  all.forEach((char, index) => {
    if (!differs[index] !== !differs[index - 1]) into = differs[index] ? name.appendChild(make("mark")) : name;
    if (index < start || index > end) into.append(make("span", "escape", "\u2423"));
    else
      into.append(
        ...[...char].map((point) => (point.search(UNSEEN) < 0 ? point : make("span", "escape", escaped(point)))),
      );
  });
  name.normalize();
  return name;
}

// The characters of two texts that differ: those outside their longest common subsequence.
function differences(one, other) {
  const [left, right] = [characters(one), characters(other)];
  const width = right.length + 1;
  const longest = new Uint16Array((left.length + 1) * width);
  for (let i = left.length - 1; i >= 0; i -= 1) {
    for (let j = right.length - 1; j >= 0; j -= 1) {
      const [down, along] = [longest[(i + 1) * width + j], longest[i * width + j + 1]];
      longest[i * width + j] = left[i] === right[j] ? longest[(i + 1) * width + j + 1] + 1 : Math.max(down, along);
    }
  }
  const differs = [left.map(() => true), right.map(() => true)];
  for (let i = 0, j = 0; i < left.length && j < right.length;) {
    if (left[i] === right[j]) differs[0][i++] = differs[1][j++] = false;
    else if (longest[(i + 1) * width + j] >= longest[i * width + j + 1]) i += 1;
    else j += 1;
  }
  return differs;
}
