// The slash key puts the cursor into the question. Everything else works without this file.
document.addEventListener("keydown", (event) => {
  const box = document.getElementById("q");
  const typing = /^(input|select|textarea)$/i.test(event.target.nodeName) || event.target.isContentEditable;
  if (box && !typing && event.key === "/" && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    box.focus();
    box.select();
  }
});
