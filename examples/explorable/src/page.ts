// What the parts share to read from the page and to write into it.

/** The element of this id. @throws Error if the page has none of this kind */
export function element<T extends HTMLElement = HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (!found) throw new Error(`expected an element with id ${id}`);
  return found as T;
}

/** Shows a figure in the text: what is read is rounded, `value` keeps it whole. */
export function show(id: string, value: number, text: string): void {
  const data = element<HTMLDataElement>(id);
  data.value = String(value);
  data.textContent = text;
}

/** Shows or hides a part of a sentence. */
export function reveal(id: string, shown: boolean): void {
  element(id).hidden = !shown;
}

const waiting = new Map<string, number>();

/** Tells a screen reader, politely, what became of a part: once nothing new has come for a moment. */
export function announce(part: string, text: string): void {
  clearTimeout(waiting.get(part));
  waiting.set(
    part,
    window.setTimeout(() => {
      element(`${part}-status`).textContent = text;
    }, 600),
  );
}

/** The value of the radio button that is chosen in the group of this name. */
export function chosen<T extends string>(name: string): T {
  return document.querySelector<HTMLInputElement>(`input[name="${name}"]:checked`)!.value as T;
}

export function onChange(name: string, listener: () => void): void {
  for (const input of document.querySelectorAll(`[name="${name}"]`))
    input.addEventListener("input", listener);
}

/** Fills a table's body: a row's first cell is its header. */
export function fillTable(id: string, rows: readonly (readonly string[])[]): void {
  element(id).replaceChildren(
    ...rows.map((cells) => {
      const row = document.createElement("tr");
      row.append(
        ...cells.map((text, i) => {
          const cell = document.createElement(i === 0 ? "th" : "td");
          if (cell instanceof HTMLTableCellElement && i === 0) cell.scope = "row";
          cell.textContent = text;
          return cell;
        }),
      );
      return row;
    }),
  );
}

/** A true minus sign, and no "-0.00". */
export function fixed(value: number, digits: number): string {
  const text = value.toFixed(digits);
  return Number(text) === 0 ? (0).toFixed(digits) : text.replace("-", "−");
}

export const percent = (share: number, digits = 1): string => `${fixed(100 * share, digits)}\u00a0%`;
