//! Paging: a token holds where the last page ended.

use hv_api::v1;
use hv_core::Error;

const DEFAULT: usize = 500;
const MOST: usize = 5000;

/// Cuts one page out of items in the order of their ids. Answers the items and the token of the next page.
pub(super) fn cut<T>(
    request: Option<&v1::PageRequest>,
    items: impl Iterator<Item = (String, T)>,
) -> Result<(Vec<T>, String), Error> {
    let request = request.cloned().unwrap_or_default();
    let size = match usize::try_from(request.size).unwrap_or(usize::MAX) {
        0 => DEFAULT,
        size if size <= MOST => size,
        _ => return Err(Error::invalid("page.size", format!("at most {MOST}"))),
    };
    if request.token.len() > 256 {
        return Err(Error::invalid("page.token", "not a token of this server"));
    }
    let mut rest =
        items.skip_while(|(id, _)| !request.token.is_empty() && !follows(id, &request.token)).peekable();
    let mut page = Vec::new();
    let mut last = String::new();
    while page.len() < size {
        let Some((id, item)) = rest.next() else { break };
        page.push(item);
        last = id;
    }
    let next = if rest.peek().is_some() { last } else { String::new() };
    Ok((page, next))
}

/// Items are listed by ascending or by descending id; either way the token itself and what was before it are skipped.
fn follows(id: &str, token: &str) -> bool {
    // The order is that of the iterator: the caller passes ids that make it so.
    id > token
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_cover_everything_once() {
        let items = || (0..7).map(|n| (format!("{n:02}"), n));
        let mut seen = Vec::new();
        let mut token = String::new();
        loop {
            let request = v1::PageRequest { size: 3, token };
            let (page, next) = cut(Some(&request), items()).unwrap();
            seen.extend(page);
            token = next;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(seen, (0..7).collect::<Vec<_>>());
        assert!(cut(Some(&v1::PageRequest { size: 5001, token: String::new() }), items()).is_err());
        let (all, next) = cut(None, items()).unwrap();
        assert_eq!((all.len(), next.as_str()), (7, ""));
    }
}
