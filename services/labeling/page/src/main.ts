/** Signs somebody in, and begins what he chooses to do. */

import { type Bands, bands, call, Refusal } from "./api.ts";
import { Dashboard } from "./dashboard.ts";
import type { Project } from "./desk.ts";
import { Labelling } from "./labelling.ts";
import { made, the, view } from "./page.ts";
import { Reviewing } from "./reviewing.ts";

const TOKEN = "canicor-token";
const ASK_AGAIN = 3000;

interface Doing {
  readonly title: string;
  /** The roles of which one is needed; any will do where there are none. */
  readonly roles: readonly string[];
  begin(token: string, project: Project, bands: Bands): void;
}

const DOINGS: Readonly<Record<string, Doing>> = {
  label: { title: "Label", roles: [], begin: (...all) => Labelling.begin(...all) },
  review: { title: "Review", roles: ["review", "manage"], begin: (...all) => new Reviewing(...all) },
  dashboard: { title: "Dashboard", roles: ["review", "manage"], begin: (...all) => new Dashboard(...all) },
};

async function start(): Promise<void> {
  const token = localStorage.getItem(TOKEN);
  if (!token) return signIn("");
  try {
    const { projects = [], caller = {} } = await call(token, "ListProjects", {});
    await choose(token, projects as Project[], caller.roles ?? []);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    // Without the server there is nothing to show, but it may come back.
    if (error.passing) setTimeout(start, ASK_AGAIN);
    signIn(error.message);
  }
}

function signIn(problem: string): void {
  the("#sign-in .problem").textContent = problem;
  view("sign-in");
  the<HTMLInputElement>("#sign-in input").focus();
}

async function choose(token: string, projects: Project[], roles: readonly string[]): Promise<void> {
  const asked = new URLSearchParams(location.hash.slice(1));
  const only = projects.length === 1 ? projects[0] : undefined;
  const project = projects.find(({ name }) => name === asked.get("project")) ?? only;
  if (!project) {
    const links = projects.map(({ name }) => made("li", {}, link(name, "label", name)));
    the("#projects ul").replaceChildren(...links);
    view("projects");
    return;
  }
  const open = Object.entries(DOINGS).filter(
    ([, doing]) => !doing.roles.length || doing.roles.some((one) => roles.includes(one)),
  );
  const [name, doing] = (open.find(([one]) => one === asked.get("view")) ?? open[0]) as [string, Doing];
  for (const views of document.querySelectorAll(".views")) {
    const links = open.filter(([one]) => one !== name).map(([one, { title }]) => link(project.name, one, title));
    views.replaceChildren(...links, signOut());
  }
  doing.begin(token, project, await bands());
}

function link(project: string, doing: string, title: string): HTMLElement {
  return made("a", { href: `#${new URLSearchParams({ project, view: doing })}` }, title);
}

function signOut(): HTMLElement {
  const button = made("button", { type: "button" }, "Sign out");
  button.addEventListener("click", () => {
    localStorage.removeItem(TOKEN);
    location.hash = "";
    location.reload();
  });
  return button;
}

the("#sign-in form").addEventListener("submit", (event) => {
  event.preventDefault();
  localStorage.setItem(TOKEN, the<HTMLInputElement>("#sign-in input").value.trim());
  start();
});
window.addEventListener("hashchange", () => location.reload());
start();
