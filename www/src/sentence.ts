/** With a capital letter, unless it begins with the name of a file, and a full stop, as the page's own sentences. */
export function sentence(text: string): string {
  const trimmed = text.trim();
  const isName = /^\S*[._/]\w/.test(trimmed);
  const capital = isName ? trimmed : trimmed.charAt(0).toUpperCase() + trimmed.slice(1);
  return /[.!?…]$/.test(capital) ? capital : `${capital}.`;
}
