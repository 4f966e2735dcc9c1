// Near misses, the user's decisions about them, and the configuration lines for these decisions.

const PAGE = 50;
const RULES = new Map([
  ["nfc", "Unicode form"],
  ["casefold", "case"],
  ["loose", "--match loose"],
  ["ignore", "--ignore"],
  ["same", "by hand"],
]);
const STORED = `mmirrorfs ${location.pathname}`;

function identity(near) {
  return JSON.stringify([near.in, ...near.names.map(({ name }) => name)]);
}

// TOML is UTF-8: it cannot hold a name that is not.
function unsayable(near) {
  return [near, ...near.names].some((value) => Object.keys(value).some((key) => key.endsWith("_b64")));
}

class Decisions {
  constructor(changed) {
    this.changed = changed;
    this.keys = new Map(plan.near.filter((near) => !unsayable(near)).map((near) => [near, identity(near)]));
    this.made = new Map();
    try {
      const known = new Set(this.keys.values());
      for (const [key, kind] of JSON.parse(localStorage.getItem(STORED) ?? "[]")) {
        if (known.has(key) && ["same", "apart"].includes(kind)) this.made.set(key, kind);
      }
    } catch {
      // no stored decisions, or storage is blocked
    }
  }

  of(near) {
    return this.made.get(this.keys.get(near));
  }

  toggle(near, kind) {
    if (this.of(near) === kind) this.made.delete(this.keys.get(near));
    else this.made.set(this.keys.get(near), kind);
    this.keep();
  }

  clear() {
    this.made.clear();
    this.keep();
  }

  keep() {
    try {
      localStorage.setItem(STORED, JSON.stringify([...this.made]));
    } catch {
      // storage is blocked: decisions last as long as the page
    }
    this.changed();
  }

  // Names by directory. A name can be in one entry of each kind only, so entries that share a name are merged.
  entries(kind) {
    let entries = [];
    for (const near of this.keys.keys()) {
      if (this.of(near) !== kind) continue;
      const names = new Set(near.names.map(({ name }) => name));
      const touching = entries.filter((other) => other.place === near.in && shared(names, other.names).length);
      entries = entries.filter((other) => !touching.includes(other));
      entries.push({
        kind,
        place: near.in,
        names: new Set([...touching.flatMap((other) => [...other.names]), ...names]),
      });
    }
    return entries;
  }

  lines() {
    return [...this.entries("same"), ...this.entries("apart")].map(linesOf).join("\n");
  }

  // Names that would be paired by one entry and kept apart by another.
  contradictions() {
    const same = this.entries("same");
    return this.entries("apart")
      .flatMap(({ place, names }) =>
        same.filter((other) => other.place === place).map((other) => shared(names, other.names)),
      )
      .filter((names) => names.length > 1);
  }
}

function shared(one, other) {
  return [...one].filter((name) => other.has(name));
}

function linesOf({ kind, place, names }) {
  return `[[${kind}]]\nnames = [${[...names].map(toml).join(", ")}]\nin = ${toml(place || "/")}\n`;
}

// With each string in bidi isolation, so that no name reorders its line.
function coloured(lines) {
  return lines.split(/("(?:[^"\\\n]|\\.)*")/).map((part, index) => (index % 2 ? make("bdi", "string", part) : part));
}

function miss(near, decisions) {
  const [first, ...others] = near.names;
  const marks = others.map(({ name }) => differences(first.name, name));
  const spelling = ({ name, sources: have }, differs) =>
    make("p", "spelling", make("span", "by", ...have.map((one) => source(ranks.get(one)))), named(name, differs));
  const place = near.in ? ["In ", named(near.in), ": "] : [];
  const spellings = make(
    "div",
    "spellings",
    spelling(first, marks[0]?.[0]),
    ...others.map((other, index) => spelling(other, marks[index][1])),
    make(
      "p",
      "why",
      make("span", "muted", ...place, named(near.in ? near.reason : capital(near.reason))),
      near.pairs_with === "same" ? "" : make("code", "advice", named(near.advice)),
    ),
  );
  return make("li", "miss", spellings, choices(near, decisions));
}

function choices(near, decisions) {
  if (unsayable(near)) return make("p", "muted", "Not UTF-8: a configuration file cannot hold this name.");
  const choice = (kind, label) => {
    const element = button("choice", () => decisions.toggle(near, kind), label);
    element.press = () => element.setAttribute("aria-pressed", decisions.of(near) === kind);
    element.press();
    return element;
  };
  const element = make("div", "choices", choice("same", "The same"), choice("apart", "Apart"));
  element.setAttribute("role", "group");
  element.setAttribute("aria-label", near.names.map(({ name }) => name).join(", "));
  return element;
}

function suggestion({ count, text, advice }) {
  const code = make("code", "advice", named(advice));
  const copy = button("quiet", () => copied(advice, copy, code), "Copy");
  return make("li", "", make("strong", "", number(count)), make("span", "", named(text)), code, copy);
}

// Without access to the clipboard API, try execCommand; if that fails too, select the text in `shown`.
async function copied(text, by, shown) {
  let said = "Copied";
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = make("textarea", "hidden", text);
    by.after(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    by.focus();
    if (!done) {
      getSelection().selectAllChildren(shown);
      said = "Press Ctrl+C";
    }
  }
  by.word ??= by.textContent;
  at("said").textContent = by.textContent = said;
  clearTimeout(by.timer);
  by.timer = setTimeout(() => (by.textContent = by.word), 2000);
}
