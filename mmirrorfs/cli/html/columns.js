// The columns of the table: a label, keys to sort by, and the cell of a row. More than three sources share one column.

const collator = new Intl.Collator(undefined, { numeric: true });
const separate = sources.length <= 3;

// Ranks for texts, in natural order.
function places(texts) {
  const place = new Map([...new Set(texts)].sort(collator.compare).map((text, index) => [text, index]));
  return texts.map((text) => place.get(text));
}

// `keys` are undefined for rows that sort last; `down`: sort in descending order first.
function columnsOf(tab) {
  const columns = tab === "above" ? [wholeColumn()] : depth > 1 ? [aboveColumn(), leafColumn()] : [leafColumn()];
  columns.push(...(separate ? sources.map((_, rank) => sourceColumn(rank, tab)) : [severalColumn()]));
  return [
    ...columns,
    ...(tab === "above" ? [bothColumn(), overlapColumn()] : [winnerColumn("high"), winnerColumn("low")]),
  ];
}

function wholeColumn() {
  return {
    id: "whole",
    label: words.above,
    keys: (rows) => places(rows.map((row) => row.path)),
    cell: (row) => title(row, row.path),
  };
}

function aboveColumn() {
  return {
    id: "above",
    label: words.above,
    keys: (rows) => places(rows.map((row) => row.above)),
    cell: (row) => named(row.above),
  };
}

function leafColumn() {
  const cell = (row) => title(row, row.name, depth > 1 ? make("span", "under muted", named(row.above)) : "");
  return { id: "leaf", label: words.leaf, keys: (rows) => places(rows.map((row) => row.name)), cell };
}

function sourceColumn(rank, tab) {
  const count = (row) => (row.have.includes(rank) ? (row.counts.get(rank) ?? 0) : undefined);
  const what = tab === "above" ? words.leaves : "files";
  const cell = (row) => presence(row, rank, what);
  return {
    id: `source ${rank}`,
    kind: "source",
    label: source(rank),
    hint: `How many ${what} it has`,
    down: true,
    keys: (rows) => rows.map(count),
    cell,
  };
}

function severalColumn() {
  const cell = ({ have }) => {
    if (sources.length > 8) return `${have.length} of ${sources.length}`;
    const names = make("span", "hidden", have.map((rank) => sources[rank]).join(", "));
    return make("span", "dots", names, ...sources.map((_, rank) => dot(rank, have.includes(rank))));
  };
  return { id: "several", label: "Sources", down: true, keys: (rows) => rows.map((row) => row.have.length), cell };
}

function winnerColumn(view) {
  const cell = ({ views }) => (views[view] === undefined ? "" : source(views[view]));
  return {
    id: view,
    label: capital(view),
    hint: `Whose is shown with --prefer ${view}`,
    keys: (rows) => rows.map((row) => row.views[view]),
    cell,
  };
}

function bothColumn() {
  return {
    id: "both",
    label: two ? "In both" : "In several",
    down: true,
    keys: (rows) => rows.map((row) => row.both),
    cell: (row) => number(row.both),
  };
}

function overlapColumn() {
  const keys = (rows) => rows.map((row) => (row.leaves ? row.both / row.leaves : undefined));
  return { id: "overlap", label: "Overlap", down: true, keys, cell: overlap };
}

function title(row, name, ...more) {
  const tags = [...row.about].map((about) => make("span", "tag", aboutWord(about, 1)));
  if (!["merged", "folder"].includes(row.type) && row.have.length) tags.push(make("span", "tag plain", row.type));
  return make("span", "title", make("span", "line", named(name || "/"), ...tags), ...more);
}

function presence(row, rank, what) {
  if (!row.have.includes(rank)) return make("span", "absent", make("span", "hidden", "not there"));
  const count = row.counts.get(rank);
  if (count === undefined) return make("span", "present", dot(rank), make("span", "hidden", "there"));
  const [figure, unit] = some(count, what).split(" ");
  return make("span", "present", dot(rank), figure, make("span", "hidden", ` ${unit}`));
}

function overlap({ leaves, both, counts }) {
  if (!leaves) return "";
  const first = two ? ((counts.get(0) ?? 0) - both) / leaves : 0;
  const shared = both / leaves;
  const image = drawn("svg", { width: "100%", height: 8, "aria-hidden": "true" });
  image.append(
    bar(first, shared, { height: 8, class: "several" }),
    bar(0, first, { height: 8, "data-s": 0 }),
    bar(first + shared, 1 - first - shared, { height: 8, ...(two ? { "data-s": 1 } : { class: "rest" }) }),
  );
  return make("span", "bar", make("span", "hidden", share(both, leaves)), image);
}
