// Completion: after a colon, the idents of the schema. Ctrl+Enter sends the form.
let words = null, list = null, chosen = 0;
const close = () => { list?.remove(); list = null; };
document.addEventListener("input", async (event) => {
  const field = event.target;
  if (!("complete" in (field.dataset ?? {}))) return;
  words ??= fetch(document.body.dataset.root + "/names.json").then((response) => response.json()).then((found) => found.names.map((row) => row.name));
  const known = await words, typed = /:[^\s()\[\]{}"]*$/.exec(field.value.slice(0, field.selectionStart))?.[0];
  close();
  const fitting = typed ? known.filter((word) => word.includes(typed.slice(1)) && word !== typed).slice(0, 8) : [];
  if (!fitting.length) return;
  list = document.createElement("ul");
  Object.assign(list, { className: "choices code", role: "listbox" });
  for (const word of fitting) {
    const item = list.appendChild(Object.assign(document.createElement("li"), { textContent: word, role: "option" }));
    item.addEventListener("pointerdown", (press) => { press.preventDefault(); take(field, typed, word); });
  }
  list.field = field; list.typed = typed; chosen = 0; mark();
  field.after(list);
});
const mark = () => [...list.children].forEach((item, i) => item.setAttribute("aria-selected", i === chosen));
function take(field, typed, word) {
  const end = field.selectionStart;
  field.setRangeText(word, end - typed.length, end, "end");
  close();
}
document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key === "Enter") event.target.form?.requestSubmit(event.target.form.querySelector("button"));
  if (!list) return;
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key], count = list.children.length;
  if (step) { chosen = (chosen + step + count) % count; mark(); }
  else if (["Enter", "Tab"].includes(event.key)) take(list.field, list.typed, list.children[chosen].textContent);
  else if (event.key === "Escape") close();
  else return;
  event.preventDefault();
});
document.addEventListener("focusout", () => setTimeout(close, 150));
