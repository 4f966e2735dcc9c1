// The overlap of the sources: two overlapping bars, or a bar for each combination of more than two.

const COMBINATIONS = 10;

function share(part, whole) {
  const percent = whole ? (100 * part) / whole : 0;
  if (percent > 0 && percent < 1) return "under 1%";
  return percent > 99 && percent < 100 ? "over 99%" : `${Math.round(percent)}%`;
}

function bar(x, width, attributes) {
  return drawn("rect", { x: `${100 * x}%`, width: `${100 * width}%`, ...attributes });
}

function picture(choose) {
  const all = plan.totals.folders ?? folders.length;
  const part = `Only ${number(folders.length)} of ${some(all, words.leaves)} are on this page, as --only says.`;
  if (!all) return [make("p", "muted", `No source has ${words.leaves} at this depth.`)];
  const counts = tally(folders.map((row) => row.group));
  const shown = !folders.length ? [] : two ? overlapping(counts, choose) : combinations(counts, choose);
  return [...shown, folders.length < all ? make("p", "muted", part) : ""];
}

function overlapping(counts, choose) {
  const [first, both, second] = ["0", "0,1", "1"].map((group) => counts.get(group) ?? 0);
  const [from, width, to] = [first, both, first + both].map((count) => count / folders.length);
  const image = drawn(
    "svg",
    { class: "bars", width: "100%", height: 84, "aria-hidden": "true" },
    bar(from, width, { height: 84, class: "both" }),
    bar(0, to, { y: 10, height: 28, rx: 4, class: "only", "data-s": 0 }),
    bar(from, 1 - from, { y: 46, height: 28, rx: 4, class: "only", "data-s": 1 }),
    bar(from, width, { y: 10, height: 28, "data-s": 0 }),
    bar(from, width, { y: 46, height: 28, "data-s": 1 }),
  );
  const figure = (group, count, ...label) =>
    button("figure", () => choose(group), make("strong", "", number(count)), " ", make("span", "", ...label));
  const loose = plan.totals["in both with loose"];
  const [one, other] = sources.map((name) => named(name));
  return [
    image,
    make(
      "div",
      "figures",
      figure("0", first, "only in ", source(0)),
      figure("several", both, "in both"),
      figure("1", second, "only in ", source(1)),
    ),
    make(
      "p",
      "muted",
      `Of ${some(folders.length, words.leaves)} in all, ${share(both, first + both)} of those in `,
      one,
      ` and ${share(both, both + second)} of those in `,
      other,
      " are in the other one too.",
      loose > both && folders.length === plan.totals.folders
        ? ` With --match loose ${number(loose)} would be in both.`
        : "",
    ),
  ];
}

function combinations(counts, choose) {
  const sorted = [...counts].sort(([, one], [, other]) => other - one);
  const rest = sorted.slice(COMBINATIONS);
  const total = (rank) => folders.filter((row) => row.have.includes(rank)).length;
  const legend = sources.map((_, rank) =>
    make("li", "", source(rank), " ", make("span", "muted", number(total(rank)))),
  );
  const more = rest.reduce((sum, [, count]) => sum + count, 0);
  return [
    make("ul", "legend", ...legend),
    make(
      "div",
      "combinations",
      ...sorted.slice(0, COMBINATIONS).map((line) => combination(line, sorted[0][1], choose)),
    ),
    rest.length
      ? make("p", "muted", `${some(more, words.leaves)} more in ${some(rest.length, "other combinations")}.`)
      : "",
  ];
}

function combination([group, count], most, choose) {
  const have = group.split(",").map(Number);
  const image = drawn("svg", { width: "100%", height: 12, "aria-hidden": "true" });
  image.append(
    bar(0, count / most, {
      height: 12,
      rx: 2,
      ...(have.length > 1 ? { class: "several" } : { "data-s": have[0] % 8 }),
    }),
  );
  const name = make("span", "hidden", ...whereOf(group), ": ");
  const dots = make("span", "dots", ...sources.map((_, rank) => dot(rank, have.includes(rank))));
  return button(
    "combination",
    () => choose(group),
    name,
    dots,
    make("span", "bar", image),
    make("strong", "", number(count)),
  );
}
