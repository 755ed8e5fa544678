// The page of the slider: sends t to Python, one at a time, and shows the answer.
function render({ model, el }) {
  const made = (name, properties) => Object.assign(document.createElement(name), properties);
  const range = made("input", { type: "range", min: 0, step: 1 });
  range.setAttribute("aria-label", "t, the number of the transaction");
  const moment = made("output", { className: "factstore-moment" });
  const value = made("div", { className: "factstore-value" });
  let wanted = null; // the t of the hand that has not been sent yet
  const send = () => {
    if (wanted === null || model.get("shown") !== model.get("t")) return;
    const t = wanted;
    wanted = null;
    model.set("t", t);
    model.save_changes();
  };
  const show = () => {
    range.max = model.get("last");
    moment.textContent = `t ${model.get("shown")} · ${model.get("moment")}`;
    value.innerHTML = model.get("html");
    if (wanted === null) range.value = model.get("t");
    send();
  };
  range.addEventListener("input", () => { wanted = Number(range.value); send(); });
  range.addEventListener("keydown", (event) => event.stopPropagation()); // JupyterLab has shortcuts for arrow keys
  // marimo sets one after the other, and html may come after shown
  for (const name of ["shown", "last", "moment", "html"]) model.on(`change:${name}`, show);
  el.classList.add("factstore-slider");
  el.append(range, moment, value);
  show();
}
export default { render };
