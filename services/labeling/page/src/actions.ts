/** Everything that can be done, each with its keys: one list for keyboard, buttons and the page of help. */

import { made, the } from "./page.ts";

export interface Action {
  readonly title: string;
  /** As `KeyboardEvent.key` has them; `Control+` before it also stands for the Command key. */
  readonly keys: readonly string[];
  /** The event is missing where a button was pressed. */
  run(event?: KeyboardEvent): void;
  /** On a button of its own. */
  readonly button?: boolean;
  readonly enabled?: () => boolean;
  readonly pressed?: () => boolean;
}

const NAMES_OF_KEYS: Readonly<Record<string, string>> = {
  ArrowLeft: "←",
  ArrowRight: "→",
  ArrowUp: "↑",
  ArrowDown: "↓",
  Control: "Ctrl",
  " ": "Space",
};

/** Binds actions to the keyboard and to buttons. */
export class Actions {
  private readonly buttons: { action: Action; button: HTMLButtonElement }[] = [];
  private readonly byKey = new Map<string, Action>();

  constructor(actions: readonly Action[]) {
    const table = the("#help table");
    for (const action of actions) {
      for (const key of action.keys) this.byKey.set(key, action);
      const keys = action.keys.map((key) => made("kbd", {}, shown(key)));
      table.append(made("tr", {}, made("td", {}, ...keys), made("td", {}, action.title)));
      if (action.button) this.add(action);
    }
    document.addEventListener("keydown", (event) => this.key(event));
  }

  /** Lets buttons show what can be done now. */
  refresh(): void {
    for (const { action, button } of this.buttons) {
      button.disabled = !(action.enabled?.() ?? true);
      if (action.pressed) button.setAttribute("aria-pressed", String(action.pressed()));
    }
  }

  private add(action: Action): void {
    const key = action.keys[0] as string;
    const button = made("button", { "aria-keyshortcuts": key }, action.title, made("kbd", {}, shown(key)));
    button.addEventListener("click", () => action.run());
    // A click must not take the keyboard from the point that is selected.
    button.addEventListener("pointerdown", (event) => event.preventDefault());
    the("#desk nav").append(button);
    this.buttons.push({ action, button });
  }

  private key(event: KeyboardEvent): void {
    const target = event.target as Element;
    if (document.querySelector("dialog[open]") || the("#desk").hidden) return;
    // A button that has the keyboard is pressed by these, as everywhere.
    if (target instanceof HTMLButtonElement && ["Enter", " "].includes(event.key)) return;
    const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const action = this.byKey.get(event.ctrlKey || event.metaKey ? `Control+${name}` : name);
    if (!action || !(action.enabled?.() ?? true)) return;
    event.preventDefault();
    action.run(event);
  }
}

function shown(key: string): string {
  const parts = key === "+" ? [key] : key.split("+");
  return parts.map((part) => NAMES_OF_KEYS[part] ?? (part.length === 1 ? part.toUpperCase() : part)).join(" ");
}
