/** Elements of the page by their selectors. */

export function the<Kind extends Element = HTMLElement>(selector: string, root: ParentNode = document): Kind {
  const found = root.querySelector<Kind>(selector);
  if (!found) throw new Error(`The page has no ${selector}`);
  return found;
}

export function made<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  attributes: Record<string, string>,
  ...content: (Node | string)[]
): HTMLElementTagNameMap[Tag] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...content);
  return element;
}

/** Shows one of the page's views, and no other. */
export function view(id: string): void {
  for (const main of document.querySelectorAll("main")) main.hidden = main.id !== id;
}

/** Tells of something that went wrong, until it is dismissed. */
export function problem(text: string): void {
  const close = made("button", { "aria-label": "Dismiss" }, "✕");
  const box = made("p", {}, text, close);
  close.addEventListener("click", () => box.remove());
  the("#problems").append(box);
}
