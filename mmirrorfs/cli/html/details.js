// The details pane: all properties of a row.

function details(row, goTo) {
  const path = row.path ? row.path.split("/") : ["/"];
  const heading = make("h2", "", ...path.flatMap((name, index) => [index ? " / " : "", named(name)]));
  heading.id = "details-title";
  const link = (tab, query, ...label) => {
    const go = () => {
      at("details").close();
      goTo(tab, { query });
    };
    return button("link", go, ...label);
  };
  const links = row.near.map((near) => {
    const names = near.names.map(({ name }) => name);
    return link("near", names[0], "Near miss: ", ...listed(names));
  });
  if (row.leaves) links.unshift(link("leaves", `${row.path}/`, `Show its ${some(row.leaves, words.leaves)}`));
  at("details").replaceChildren(
    heading,
    make("table", "", make("tbody", "", ...row.have.map((rank) => inSource(row, rank)))),
    make("ul", "", ...row.remarks.map((text) => make("li", "", named(text)))),
    make("div", "links", ...links),
    button("quiet", () => at("details").close(), "Close"),
  );
  at("details").showModal();
}

function inSource({ type, counts, views }, rank) {
  const count = counts.get(rank);
  const shown = ["high", "low"].filter((view) => views[view] === rank);
  return make(
    "tr",
    "",
    make("th", "", source(rank)),
    make("td", "", count === undefined ? "" : some(count, type === "merged" ? words.leaves : "files")),
    make("td", "muted", shown.length ? `shown in ${shown.join(" and ")}` : ""),
  );
}
