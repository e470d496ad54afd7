/*
Lets people see the new password that they type (NIST SP 800-63B §3.1.1.2). The box to
tick stands hidden in the page, since without this script it could do nothing.
*/
for (const box of document.querySelectorAll("input[data-shows]")) {
	const field = document.getElementById(box.dataset.shows);
	const hide = () => { field.type = "password"; box.checked = false; };
	box.parentElement.hidden = false;
	box.addEventListener("change", () => { field.type = box.checked ? "text" : "password"; });
	/* Browsers remember what was sent from fields that are no passwords, and what a
	page held when one comes back to it. */
	field.form.addEventListener("submit", hide);
	addEventListener("pagehide", hide);
}
