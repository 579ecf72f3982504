//! Results of calls, made fit for a session: cleaned, and no longer than a model's context can bear.
//!
//! Texts beyond the limit are cut and data is left out; each time a line in the result says so, for whoever reads it.

use rmcp::ErrorData;
use rmcp::model::{
    CallToolResult, CompleteResult, ContentBlock, GetPromptResult, MetaObject, ReadResourceResult, Resource,
    ResourceContents, ServerResult,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::clean::{Text, clean_cut, clean_fields, clean_in_place, clean_value, cut};

/// What a block costs beside its text: so many empty ones are too many as well.
const BLOCK: usize = 64;
/// The longest name, type or address in a result.
const MAX_NAME: usize = 2048;
const UNKNOWN: &str = "[the gateway left out a part of a kind that it does not know]";
/// The largest `_meta`.
const MAX_META: usize = 16 << 10;

/// The result as a session gets it; `None` for one that is no answer to any request of a session.
pub(crate) fn clean_result(result: ServerResult, max: usize) -> Option<ServerResult> {
    Some(match result {
        ServerResult::CallToolResult(result) => ServerResult::CallToolResult(call(result, max)),
        ServerResult::GetPromptResult(result) => ServerResult::GetPromptResult(prompt(result, max)),
        ServerResult::ReadResourceResult(result) => ServerResult::ReadResourceResult(resource(result, max)),
        ServerResult::CompleteResult(result) => ServerResult::CompleteResult(completion(result)),
        ServerResult::InputRequiredResult(result) => {
            ServerResult::InputRequiredResult(throughout(&result, max)?)
        }
        ServerResult::EmptyResult(result) => ServerResult::EmptyResult(result),
        _ => return None,
    })
}

/// The error of a server as a session gets it.
pub(crate) fn clean_error(mut error: ErrorData, max: usize) -> ErrorData {
    error.message = clean_cut(&error.message, Text::Result, max.min(16 << 10)).into();
    if let Some(data) = &mut error.data {
        clean_value(data, Text::Result);
        if size(data) > max {
            error.data = None;
        }
    }
    error
}

/// Cleans every text of something that is only passed on; `None` when it is too large.
pub(crate) fn throughout<T: Serialize + DeserializeOwned>(message: &T, max: usize) -> Option<T> {
    let mut value = serde_json::to_value(message).ok()?;
    clean_value(&mut value, Text::Result);
    if size(&value) > max {
        return None;
    }
    serde_json::from_value(value).ok()
}

fn call(mut result: CallToolResult, max: usize) -> CallToolResult {
    let mut room = Room::new(max);
    result.content = room.blocks(result.content);
    if let Some(value) = &mut result.structured_content {
        clean_value(value, Text::Result);
        let bytes = size(value);
        if bytes > max {
            // Who expects structure would be misled by half of it.
            result.structured_content = None;
            result.is_error = Some(true);
            result.content.push(ContentBlock::text(format!(
                "[the gateway left out a structured result of {bytes} bytes: at most {max} are passed on; ask for less]"
            )));
        }
    }
    meta(&mut result.meta);
    result
}

fn prompt(mut result: GetPromptResult, max: usize) -> GetPromptResult {
    let mut room = Room::new(max);
    if let Some(description) = &mut result.description {
        *description = clean_cut(description, Text::Result, MAX_NAME);
    }
    result.messages.truncate(max / BLOCK);
    for message in &mut result.messages {
        let content = std::mem::replace(&mut message.content, ContentBlock::text(""));
        message.content = room.block(content);
    }
    meta(&mut result.meta);
    result
}

fn resource(mut result: ReadResourceResult, max: usize) -> ReadResourceResult {
    let mut room = Room::new(max);
    result.contents.truncate(max / BLOCK);
    result.contents = result
        .contents
        .into_iter()
        .map(|contents| room.contents(contents))
        .collect();
    meta(&mut result.meta);
    result
}

fn completion(mut result: CompleteResult) -> CompleteResult {
    for value in &mut result.completion.values {
        *value = clean_cut(value, Text::Line, MAX_NAME);
    }
    meta(&mut result.meta);
    result
}

fn meta(meta: &mut Option<MetaObject>) {
    if let Some(fields) = meta {
        clean_fields(fields, Text::Result);
        if size(fields) > MAX_META {
            *meta = None;
        }
    }
}

/// How large a value is in JSON, without writing it down.
pub(crate) fn size(value: &impl Serialize) -> usize {
    struct Counter(usize);
    impl std::io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(0);
    match serde_json::to_writer(&mut counter, value) {
        Ok(()) => counter.0,
        Err(_) => usize::MAX,
    }
}

/// What room is left in a result.
struct Room {
    left: usize,
    max: usize,
}

impl Room {
    fn new(max: usize) -> Self {
        Self { left: max, max }
    }

    fn blocks(&mut self, blocks: Vec<ContentBlock>) -> Vec<ContentBlock> {
        let total = blocks.len();
        let mut kept = Vec::new();
        for block in blocks {
            if self.left < BLOCK {
                let more = total - kept.len();
                kept.push(ContentBlock::text(format!(
                    "[the gateway left out {more} more parts: a result may have {} bytes]",
                    self.max
                )));
                break;
            }
            kept.push(self.block(block));
        }
        kept
    }

    fn block(&mut self, block: ContentBlock) -> ContentBlock {
        self.left = self.left.saturating_sub(BLOCK);
        match block {
            ContentBlock::Text(mut text) => {
                text.text = self.text(text.text);
                meta(&mut text.meta);
                ContentBlock::Text(text)
            }
            ContentBlock::Image(mut image) => {
                if let Err(note) = self.data(&image.data, "image") {
                    return ContentBlock::text(note);
                }
                clean_name(&mut image.mime_type);
                meta(&mut image.meta);
                ContentBlock::Image(image)
            }
            ContentBlock::Audio(mut audio) => {
                if let Err(note) = self.data(&audio.data, "sound") {
                    return ContentBlock::text(note);
                }
                clean_name(&mut audio.mime_type);
                meta(&mut audio.meta);
                ContentBlock::Audio(audio)
            }
            ContentBlock::Resource(mut embedded) => {
                embedded.resource = self.contents(embedded.resource);
                meta(&mut embedded.meta);
                ContentBlock::Resource(embedded)
            }
            ContentBlock::ResourceLink(link) => self.link(link),
            _ => ContentBlock::text(UNKNOWN),
        }
    }

    fn contents(&mut self, contents: ResourceContents) -> ResourceContents {
        match contents {
            ResourceContents::TextResourceContents {
                mut uri,
                mime_type,
                text,
                meta: mut about,
            } => {
                clean_name(&mut uri);
                meta(&mut about);
                ResourceContents::TextResourceContents {
                    uri,
                    mime_type: mime_type.map(|name| clean_cut(&name, Text::Line, MAX_NAME)),
                    text: self.text(text),
                    meta: about,
                }
            }
            ResourceContents::BlobResourceContents {
                mut uri,
                mime_type,
                blob,
                meta: mut about,
            } => {
                clean_name(&mut uri);
                meta(&mut about);
                match self.data(&blob, "file") {
                    Ok(()) => ResourceContents::BlobResourceContents {
                        uri,
                        mime_type: mime_type.map(|name| clean_cut(&name, Text::Line, MAX_NAME)),
                        blob,
                        meta: about,
                    },
                    Err(note) => ResourceContents::TextResourceContents {
                        uri,
                        mime_type: Some("text/plain".to_owned()),
                        text: note,
                        meta: about,
                    },
                }
            }
            _ => ResourceContents::text(UNKNOWN, ""),
        }
    }

    fn link(&mut self, mut link: Resource) -> ContentBlock {
        link.icons = None;
        clean_name(&mut link.uri);
        clean_name(&mut link.name);
        for text in [&mut link.title, &mut link.description].into_iter().flatten() {
            *text = clean_cut(text, Text::Result, MAX_NAME);
        }
        if let Some(name) = &mut link.mime_type {
            clean_name(name);
        }
        meta(&mut link.meta);
        self.left = self.left.saturating_sub(size(&link));
        ContentBlock::ResourceLink(link)
    }

    /// The text, as much of it as there is room for.
    fn text(&mut self, mut text: String) -> String {
        clean_in_place(&mut text, Text::Result);
        if text.len() <= self.left {
            self.left -= text.len();
            return text;
        }
        let kept = cut(&text, self.left).to_owned();
        let gone = text.len() - kept.len();
        self.left = 0;
        format!("{kept}\n[the gateway cut off {gone} more bytes; ask for less]")
    }

    /// Whether there is room for data; a note to stand for it otherwise.
    fn data(&mut self, data: &str, kind: &str) -> Result<(), String> {
        let base64 =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'\n' | b'\r');
        if !data.bytes().all(base64) {
            return Err(format!(
                "[the gateway left out a part that is no {kind}: it is not base64]"
            ));
        }
        let bytes = data.len();
        if bytes > self.left {
            return Err(format!(
                "[the gateway left out a part of {bytes} bytes ({kind}): at most {} are passed on in one result]",
                self.max
            ));
        }
        self.left -= bytes;
        Ok(())
    }
}

fn clean_name(name: &mut String) {
    *name = clean_cut(name, Text::Line, MAX_NAME);
}

#[cfg(test)]
mod tests {
    use rmcp::model::CustomResult;
    use serde_json::json;

    use super::*;

    fn cleaned(result: CallToolResult, max: usize) -> CallToolResult {
        match clean_result(ServerResult::CallToolResult(result), max) {
            Some(ServerResult::CallToolResult(result)) => result,
            other => panic!("{other:?}"),
        }
    }

    fn texts(result: &CallToolResult) -> Vec<String> {
        let text = |block: &ContentBlock| match block {
            ContentBlock::Text(text) => text.text.clone(),
            other => format!("{other:?}"),
        };
        result.content.iter().map(text).collect()
    }

    #[test]
    fn texts_are_cleaned_and_cut_with_a_note() {
        let result = CallToolResult::success(vec![
            ContentBlock::text("\u{1b}[31mred\u{1b}[0m\u{200b}!"),
            ContentBlock::text("x".repeat(1000)),
            ContentBlock::text("never seen"),
        ]);
        let texts = texts(&cleaned(result, 400));
        assert_eq!(texts[0], "red!");
        let kept = 400 - 2 * BLOCK - 4;
        assert_eq!(
            texts[1],
            format!(
                "{}\n[the gateway cut off {} more bytes; ask for less]",
                "x".repeat(kept),
                1000 - kept
            )
        );
        assert_eq!(
            texts[2],
            "[the gateway left out 1 more parts: a result may have 400 bytes]"
        );
        assert_eq!(texts.len(), 3);
    }

    #[test]
    fn data_that_is_too_large_or_no_data_is_left_out_with_a_note() {
        let result = CallToolResult::success(vec![
            ContentBlock::image("QUJD", "image/png"),
            ContentBlock::image("A".repeat(5000), "image/png"),
            ContentBlock::image("<script>", "image/png"),
        ]);
        let result = cleaned(result, 4096);
        assert!(matches!(&result.content[0], ContentBlock::Image(image) if image.data == "QUJD"));
        let texts = texts(&result);
        assert!(texts[1].contains("left out a part of 5000 bytes"), "{}", texts[1]);
        assert!(texts[2].contains("not base64"), "{}", texts[2]);
    }

    #[test]
    fn structure_is_whole_or_not_at_all() {
        let mut result = CallToolResult::structured(json!({"a\u{200b}": "b\u{202e}c"}));
        result.content.clear();
        assert_eq!(cleaned(result, 100).structured_content, Some(json!({"a": "bc"})));

        let mut result = CallToolResult::structured(json!({"a": "x".repeat(200)}));
        result.content.clear();
        let result = cleaned(result, 100);
        assert_eq!(
            (result.structured_content.clone(), result.is_error),
            (None, Some(true))
        );
        assert!(texts(&result)[0].contains("a structured result of 208 bytes"));
    }

    #[test]
    fn what_answers_no_request_of_a_session_is_not_passed_on() {
        assert!(
            clean_result(
                ServerResult::CustomResult(CustomResult::new(json!({"x": 1}))),
                100
            )
            .is_none()
        );
    }

    #[test]
    fn many_empty_parts_are_too_many_too() {
        let result = CallToolResult::success(vec![ContentBlock::text(""); 10_000]);
        assert_eq!(cleaned(result, 6400).content.len(), 101);
    }

    #[test]
    fn errors_are_cleaned_like_results() {
        let error = ErrorData::invalid_params("no\u{1b}[2J\u{200b}", Some(json!("d\u{202e}")));
        let error = clean_error(error, 100);
        assert_eq!((error.message.as_ref(), error.data), ("no", Some(json!("d"))));
    }
}
