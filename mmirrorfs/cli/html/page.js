// The state of the page (search, filters, level), and what is rendered for it.

const START = { query: "", where: "", about: "", rule: "", pages: 1 };
const state = { ...START, tab: "leaves", sort: {}, down: {} };
state.sort = { leaves: depth > 1 ? "above" : "leaf", above: "whole" };
const tabs = new Map([
  ["leaves", [capital(words.leaves), levels.leaves.length]],
  ["above", [words.aboves, levels.above.length]],
  ["near", ["Near misses", plan.near.length]],
]);
const grid = new Grid(at("grid"), sortBy, (row) => details(row, goTo));
const decisions = new Decisions(drawLines);

function choose(change) {
  Object.assign(state, { pages: 1 }, change);
  draw();
}

function goTo(tab, change) {
  choose({ ...START, tab, ...change });
  at("work").scrollIntoView();
}

function sortBy(column, again) {
  state.down[state.tab] = again ? !state.down[state.tab] : Boolean(column.down);
  state.sort[state.tab] = column.id;
  drawTable();
}

// --- State ---

function asking() {
  const terms = folded(state.query).split(/\s+/);
  return (text) => terms.every((term) => text.includes(term));
}

// The rows to show, and the number of rows for each other choice of a filter.
function asked() {
  const asksFor = asking();
  const found = { rows: [], where: [], about: [] };
  for (const row of grid.ordered(state.tab, state.sort[state.tab], state.down[state.tab])) {
    if (!asksFor(row.folded)) continue;
    const many = row.have.length > 1;
    const fits = !state.where || (state.where === "several" ? many : row.group === state.where);
    const concerns = !state.about || row.about.has(state.about);
    if (concerns) found.where.push("", row.group, ...(many ? ["several"] : []));
    if (fits) found.about.push(...row.about);
    if (fits && concerns) found.rows.push(row);
  }
  return { rows: found.rows, where: tally(found.where), about: tally(found.about) };
}

// --- Rendering ---

function draw() {
  const near = state.tab === "near";
  at("library").hidden = near;
  at("near").hidden = !near;
  swap(at("tabs"), ...[...tabs].filter(([name, [, count]]) => count || name !== "above").map(tabOf));
  at("library").setAttribute("aria-labelledby", near ? "tab-leaves" : `tab-${state.tab}`);
  if (at("search").value !== state.query) at("search").value = state.query;
  if (near) drawNear();
  else drawTable();
}

function tabOf([name, [label, count]]) {
  const element = button(
    "tab",
    () => choose({ ...START, query: state.query, tab: name }),
    label,
    " ",
    make("small", "", number(count)),
  );
  element.id = `tab-${name}`;
  element.dataset.value = name;
  element.tabIndex = state.tab === name ? 0 : -1;
  element.setAttribute("role", "tab");
  element.setAttribute("aria-selected", state.tab === name);
  element.setAttribute("aria-controls", name === "near" ? "near" : "library");
  return element;
}

function chip(key, value, count, ...label) {
  const change = () => choose({ [key]: state[key] === value ? "" : value });
  const element = button("chip", change, ...label, " ", make("small", "", number(count ?? 0)));
  element.dataset.value = value;
  element.setAttribute("aria-pressed", state[key] === value);
  return element;
}

function whereLabel(where) {
  if (where === "") return ["All"];
  if (where === "several") return [two ? "In both" : "In several"];
  return where.includes(",") ? whereOf(where) : ["Only ", source(Number(where))];
}

function drawTable() {
  const { rows: shown, where, about } = asked();
  const wheres = new Set([
    "",
    "several",
    ...(sources.length <= 6 ? sources.map((_, rank) => `${rank}`) : []),
    state.where,
  ]);
  swap(at("where"), ...[...wheres].map((key) => chip("where", key, where.get(key), ...whereLabel(key))));
  swap(at("about"), ...[...abouts.keys()].map((key) => chip("about", key, about.get(key), capital(aboutWord(key)))));
  at("count").textContent = `${number(shown.length)} of ${number(levels[state.tab].length)}`;
  at("none").hidden = shown.length > 0;
  at("grid").hidden = !shown.length;
  at("grid").setAttribute("aria-label", tabs.get(state.tab)[0]);
  grid.show(state.tab, shown, state.sort[state.tab], state.down[state.tab]);
}

function drawNear() {
  const asksFor = asking();
  const found = plan.near.filter((near) => asksFor(folded([near.in, ...near.names.map(({ name }) => name)].join("/"))));
  const counts = tally(found.map((near) => near.pairs_with));
  const rules = [...RULES].filter(([rule]) => plan.near.some((near) => near.pairs_with === rule));
  const chosen = found.filter((near) => !state.rule || near.pairs_with === state.rule);
  const shown = chosen.slice(0, state.pages * PAGE);
  swap(
    at("where"),
    chip("rule", "", found.length, "All"),
    ...rules.map(([rule, label]) => chip("rule", rule, counts.get(rule), capital(label))),
  );
  at("about").replaceChildren();
  at("count").textContent = `${number(chosen.length)} of ${number(plan.near.length)}`;
  at("misses").replaceChildren(...shown.map((near) => miss(near, decisions)));
  at("more").hidden = shown.length === chosen.length;
  at("more").textContent = `Show ${number(Math.min(PAGE, chosen.length - shown.length))} more`;
}

function drawLines() {
  const lines = decisions.lines();
  const count = (kind) => number(decisions.entries(kind).length);
  for (const choice of document.querySelectorAll(".choice")) choice.press();
  at("decided").textContent = lines
    ? `${count("same")} the same, ${count("apart")} apart`
    : "Tick what is the same, or apart: the lines that say so appear here.";
  at("lines").replaceChildren(...coloured(lines));
  at("lines").hidden = at("buttons").hidden = !lines;
  const doubt = (names) => make("li", "", ...listed(names), " would be the same and apart: untick one of these.");
  at("doubts").replaceChildren(...decisions.contradictions().map(doubt));
}

function introduce() {
  const { match, ignore } = plan.options;
  const names = sources.flatMap((_, rank) => [rank ? make("span", "muted", " + ") : "", source(rank)]);
  at("title").append(...(sources.length > 4 ? [some(sources.length, "sources")] : names));
  document.title = `${at("title").textContent} - mmirrorfs plan`;
  const options = [`--depth ${depth}`, `--match ${match}`, ...ignore.map((pattern) => `--ignore ${pattern}`)];
  at("options").append(...options.flatMap((option) => [make("code", "", named(option)), " "]));
  at("picture").append(...picture((where) => goTo("leaves", { where })));
  const near = plan.near.length ? [attend("near", plan.near.length, "near")] : [];
  const others = [...abouts].filter(([about]) => about !== "near").map(([about, count]) => attend(about, count));
  const none = make("p", "muted", "Nothing needs a decision.");
  at("attention").append(...(near.length + others.length ? [...near, ...others] : [none]));
  at("groups").append(...plan.groups.map(suggestion));
}

function attend(about, count, tab) {
  tab ??= levels.leaves.some((row) => row.about.has(about)) ? "leaves" : "above";
  const go = () => goTo(tab, tab === "near" ? {} : { about });
  return button("attend", go, make("strong", "", number(count)), ` ${aboutWord(about, count)}`);
}

function theme(change) {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  try {
    if (change) localStorage.setItem("mmirrorfs theme", change);
    change ??= localStorage.getItem("mmirrorfs theme");
  } catch {
    // storage is blocked: it lasts as long as the page
  }
  if (["light", "dark"].includes(change)) root.dataset.theme = change;
  const other = (root.dataset.theme ?? (dark ? "dark" : "light")) === "dark" ? "light" : "dark";
  at("theme").textContent = capital(other);
  at("theme").setAttribute("aria-label", `Use the ${other} theme`);
  at("theme").dataset.to = other;
}

at("theme").addEventListener("click", () => theme(at("theme").dataset.to));
at("search").addEventListener("input", () => choose({ query: at("search").value }));
at("reset").addEventListener("click", () => choose(START));
at("more").addEventListener("click", () => choose({ pages: state.pages + 1 }));
at("copy").addEventListener("click", () => copied(decisions.lines(), at("copy"), at("lines")));
at("clear").addEventListener("click", () => decisions.clear());
at("tabs").addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  const all = [...at("tabs").children];
  const next = all.at((all.indexOf(document.activeElement) + step) % all.length);
  next.focus();
  next.click();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target.closest("input, dialog") || event.ctrlKey || event.metaKey || event.altKey)
    return;
  at("search").focus();
  event.preventDefault();
});

theme();
introduce();
draw();
drawLines();
