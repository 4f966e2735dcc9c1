// The table, virtualised: only the visible rows, and a few more, are in the document.

const SPARE = 12;
const TALLEST = 10_000_000; // pixels; browsers draw nothing that is much taller

class Grid {
  constructor(box, choose, open) {
    [this.box, this.choose, this.open] = [box, choose, open];
    [this.head, this.space, this.body] = [".head", ".space", ".rows"].map((part) => box.querySelector(part));
    this.orders = new Map();
    this.shown = this.columns = [];
    box.addEventListener("scroll", () => requestAnimationFrame(() => this.draw()), { passive: true });
    box.addEventListener("keydown", (event) => this.press(event));
    this.body.addEventListener("click", (event) => this.click(event));
    new ResizeObserver(() => this.draw(true)).observe(box);
  }

  // All rows of a level, sorted by a column; those without a value come last in both directions.
  ordered(tab, id, down) {
    const key = `${tab} ${id} ${down}`;
    if (!this.orders.has(key)) {
      const all = levels[tab];
      const column = columnsOf(tab).find((one) => one.id === id);
      const keys = column.keys(all).map((value) => value ?? (down ? -Infinity : Infinity));
      const order = all.map((_, index) => index);
      order.sort((one, other) => (down ? keys[other] - keys[one] : keys[one] - keys[other]) || one - other);
      this.orders.set(
        key,
        order.map((index) => all[index]),
      );
    }
    return this.orders.get(key);
  }

  show(tab, rows, sorted, down) {
    [this.shown, this.columns, this.active] = [rows, columnsOf(tab), 0];
    this.box.setAttribute("aria-rowcount", rows.length + 1);
    this.box.setAttribute("aria-colcount", this.columns.length);
    swap(
      this.head,
      line("columnheader", 1, this.columns, (column) => this.header(column, column.id === sorted, down)),
    );
    for (const [index, cell] of [...this.head.firstChild.children].entries()) {
      const { id, hint } = this.columns[index];
      if (hint) cell.title = hint;
      if (id === sorted) cell.setAttribute("aria-sort", down ? "descending" : "ascending");
    }
    this.box.scrollTop = 0;
    this.body.replaceChildren();
    this.draw(true);
  }

  header(column, sorted, down) {
    const arrow = make("span", "arrow", sorted ? (down ? "\u2193" : "\u2191") : "");
    arrow.setAttribute("aria-hidden", "true");
    const element = button("sort", () => this.choose(column, sorted), column.label, arrow);
    element.dataset.value = column.id;
    return element;
  }

  // In pixels. A list that is taller than an element can be scrolls `ratio` times as far as the scrollbar.
  measure() {
    const height = parseFloat(getComputedStyle(this.space).minHeight);
    const view = this.box.clientHeight - this.head.offsetHeight;
    const full = this.shown.length * height;
    const tall = Math.min(full, TALLEST);
    const ratio = tall > view ? (full - view) / (tall - view) : 1;
    return { height, view, tall, ratio, top: this.box.scrollTop * ratio };
  }

  // Rows are rendered again only when one becomes visible that is not in the document.
  draw(anew = false) {
    if (!this.box.clientHeight || !this.columns.length) return;
    const { height, view, tall, top } = this.measure();
    const first = Math.floor(top / height);
    const last = Math.min(this.shown.length, Math.ceil((top + view) / height));
    const there = !anew && this.first <= first && last <= this.last;
    if (!there) {
      this.first = Math.max(0, first - SPARE);
      this.last = Math.min(this.shown.length, last + SPARE);
      const rows = this.shown.slice(this.first, this.last);
      this.body.replaceChildren(...rows.map((row, index) => this.row(row, this.first + index)));
      this.mark();
    }
    this.space.style.height = `${tall}px`;
    this.body.style.transform = `translateY(${this.first * height - top + this.box.scrollTop}px)`;
  }

  row(row, index) {
    const element = line("gridcell", index + 2, this.columns, (column) => column.cell(row));
    element.id = `row-${index}`;
    element.dataset.index = index;
    return element;
  }

  mark() {
    for (const row of this.body.children) row.classList.toggle("active", Number(row.dataset.index) === this.active);
    const there = this.active >= this.first && this.active < this.last;
    this.box.setAttribute("aria-activedescendant", there ? `row-${this.active}` : "");
  }

  go(index) {
    this.active = Math.min(Math.max(index, 0), this.shown.length - 1);
    const { height, view, ratio, top } = this.measure();
    const inSight = Math.min(Math.max(top, (this.active + 1) * height - view), this.active * height);
    if (inSight !== top) this.box.scrollTop = inSight / ratio;
    this.draw();
    this.mark();
  }

  press(event) {
    if (event.target !== this.box || event.ctrlKey || event.altKey || event.metaKey || !this.shown.length) return;
    const { height, view } = this.measure();
    const page = Math.max(1, Math.floor(view / height) - 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (Object.hasOwn(steps, event.key)) this.go(this.active + steps[event.key]);
    else if (event.key === "Enter") this.open(this.shown[this.active]);
    else return;
    event.preventDefault();
  }

  click(event) {
    const row = event.target.closest(".row");
    if (!row || String(getSelection())) return;
    this.active = Number(row.dataset.index);
    this.mark();
    this.open(this.shown[this.active]);
  }
}

function line(role, index, columns, content) {
  const element = make("div", "row");
  element.setAttribute("role", "row");
  element.setAttribute("aria-rowindex", index);
  for (const column of columns) {
    const cell = make("div", "cell", content(column));
    cell.dataset.column = column.kind ?? column.id;
    cell.setAttribute("role", role);
    element.append(cell);
  }
  return element;
}
