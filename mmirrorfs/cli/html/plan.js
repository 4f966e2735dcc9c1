// The plan as rows. From here on a source is its rank, which also selects its colour.

const plan = JSON.parse(at("plan").textContent);
const { sources } = plan;
const { depth } = plan.options;
const ranks = new Map(sources.map((name, rank) => [name, rank]));
const two = sources.length === 2;
const words =
  depth === 2
    ? { above: "Artist", aboves: "Artists", leaf: "Album", leaves: "albums" }
    : { above: "In", aboves: "Above the depth", leaf: "Folder", leaves: "folders" };
const ABOUT = new Map([
  ["near", ["near miss", "near misses"]],
  ["empty", ["empty winner", "empty winners"]],
  ["incomplete", ["incomplete winner", "incomplete winners"]],
  ["conflict", ["conflict", "conflicts"]],
  ["unreadable", ["unreadable", "unreadable"]],
  ["collision", ["collision", "collisions"]],
  ["unknown name", ["unknown name", "unknown names"]],
  ["link", ["link left out", "links left out"]],
]);

function aboutWord(about, count) {
  return (ABOUT.get(about) ?? [about, about])[count === 1 ? 0 : 1];
}

// A path as a key. One that is not UTF-8 is its base64 after a slash, with which no path begins.
function keyOf(path, encoded) {
  return encoded === undefined ? path : `/${encoded}`;
}

function keyIn(near, name) {
  if (near.in_b64 === undefined) return near.in ? `${near.in}/${name}` : name;
  return `/${btoa(atob(near.in_b64) + String.fromCharCode(...new TextEncoder().encode(`/${name}`)))}`;
}

// `counts`: files in a folder, or folders in a directory above the depth, by source.
function rowOf({ path, type, sources: having, high, low, files = {} }) {
  const cut = path.lastIndexOf("/");
  const have = having.map((name) => ranks.get(name));
  const counted = type === "merged" ? [] : Object.entries(files);
  return {
    path,
    above: path.slice(0, Math.max(cut, 0)),
    name: path.slice(cut + 1),
    folded: folded(path),
    type,
    have,
    group: have.join() || "none",
    views: { high: ranks.get(high), low: ranks.get(low) },
    counts: new Map(counted.map(([name, count]) => [ranks.get(name), count])),
    leaves: 0,
    both: 0,
    about: new Set(),
    remarks: [],
    near: [],
  };
}

function readRows() {
  const rows = new Map(plan.entries.map((entry) => [keyOf(entry.path, entry.path_b64), rowOf(entry)]));
  countLeaves(rows.values());
  for (const { about, path, path_b64: encoded, text } of plan.remarks) {
    const key = keyOf(path, encoded);
    if (!rows.has(key)) rows.set(key, rowOf({ path, type: about, sources: [] })); // left out of the views
    rows.get(key).remarks.push(text);
    rows.get(key).about.add(about);
  }
  for (const near of plan.near) {
    for (const { name } of near.names) {
      const row = rows.get(keyIn(near, name));
      row?.near.push(near);
      row?.about.add("near");
    }
  }
  return [...rows.values()];
}

// A directory sorts before its content.
function countLeaves(rows) {
  const open = [];
  for (const row of rows) {
    while (open.length && !row.path.startsWith(`${open.at(-1).path}/`)) open.pop();
    if (row.type === "merged") open.push(row);
    if (row.type !== "folder") continue;
    for (const above of open) {
      above.leaves += 1;
      above.both += row.have.length > 1;
      for (const rank of row.have) above.counts.set(rank, (above.counts.get(rank) ?? 0) + 1);
    }
  }
}

function isAbove({ type, have, path }) {
  return type === "merged" || (have.length === 0 && (!path || path.split("/").length < depth));
}

const rows = readRows();
const levels = { leaves: rows.filter((row) => !isAbove(row)), above: rows.filter(isAbove) };
const folders = levels.leaves.filter((row) => row.type === "folder");

function tally(keys) {
  const counts = new Map();
  for (const key of keys) counts.set(key, (counts.get(key) ?? 0) + 1);
  return counts;
}

const seen = tally(rows.flatMap((row) => [...row.about]));
const kinds = [...new Set([...ABOUT.keys(), ...seen.keys()])].filter((about) => seen.has(about));
const abouts = new Map(kinds.map((about) => [about, seen.get(about)]));

function dot(rank, has = true) {
  const element = make("i", has ? "dot" : "dot off");
  element.dataset.s = rank % 8;
  return element;
}

function source(rank) {
  return make("span", "source", dot(rank), named(sources[rank]));
}

// "a", "a and b", "a, b and c".
function listed(names) {
  return names.flatMap((name, index) => [index === 0 ? "" : index === names.length - 1 ? " and " : ", ", named(name)]);
}

function whereOf(group) {
  const have = group.split(",");
  return [have.length === sources.length ? "In " : "Only in ", ...listed(have.map((rank) => sources[rank]))];
}
