// Shows only the items that fit the search box and the menus above them.
for (const section of document.querySelectorAll("[data-filtered]")) {
  const form = section.querySelector("form");
  if (!form) continue;
  const items = [...section.querySelectorAll("article")].map((node) => ({
    node,
    text: node.textContent.normalize("NFKC").toLowerCase(),
  }));
  const apply = () => {
    const wanted = form.text.value.normalize("NFKC").toLowerCase().trim();
    let shown = 0;
    for (const { node, text } of items) {
      const fits =
        text.includes(wanted) &&
        (!form.language.value || node.dataset.language === form.language.value) &&
        (!form.kind.value || node.dataset.kind === form.kind.value);
      node.hidden = !fits;
      shown += fits;
    }
    form.querySelector("output").textContent = `${shown} of ${items.length} shown`;
  };
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  apply();
}
