import { byId } from "../dom";
import { Store } from "../store";
import type { Address } from "./address";
import { views, type View } from "./url-state";

/** Wires the tabs: one room of the page is open at a time. */
export function watchViews(address: Address): Store<View> {
  const open = new Store<View>(address.state.view);
  const tabs = views.map((view) => ({ view, tab: byId(`tab-${view}`, HTMLButtonElement) }));
  for (const [index, { view, tab }] of tabs.entries()) {
    tab.addEventListener("click", () => open.set(view));
    tab.addEventListener("keydown", ({ key }) => {
      const to = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: -1 }[key];
      if (to === undefined) return;
      const next = tabs.at(to % tabs.length);
      next?.tab.focus();
      if (next) open.set(next.view);
    });
  }
  open.watch((chosen) => {
    document.body.dataset["view"] = chosen;
    for (const { view, tab } of tabs) {
      tab.ariaSelected = String(view === chosen);
      tab.tabIndex = view === chosen ? 0 : -1;
      byId(`view-${view}`, HTMLElement).hidden = view !== chosen;
    }
    if (address.state.view !== chosen) address.change({ view: chosen });
  });
  return open;
}
