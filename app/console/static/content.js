// What a message says: extensions written for the original server put it in an envelope, {messageId, content, type}.

const isEnvelope = (content) =>
  content !== null && typeof content === "object" && typeof content.messageId === "string" && "content" in content;

/** Returns the data of a message without the envelope around its content; any other data as it is. */
export function unwrapped(data) {
  const { content, type } = data;
  if (!isEnvelope(content)) return data;
  const inner = typeof content.type === "string" ? content.type : undefined;
  const kind = type === undefined || type === "chat" ? (inner ?? type) : type;
  return { ...data, content: content.content, ...(kind !== undefined && { type: kind }) };
}
