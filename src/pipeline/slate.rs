//! The slate that viewers see while there is no camera picture: a card with the reason.

use std::time::Duration;

use crate::media::i420::I420;
use crate::media::text;

/// Time between two slates: often enough that browsers do not call the stream frozen, at next to no bitrate.
pub const INTERVAL: Duration = Duration::from_millis(500);
const DARK: u8 = 32;

/// Draws the slate over `picture`.
pub fn draw(picture: &mut I420, reason: &str) {
    let size = picture.size();
    let planes = picture.planes_mut();
    planes.y.fill(DARK);
    planes.u.fill(128);
    planes.v.fill(128);
    let lines = wrap(reason, (size.width * 9 / 10 / text::ADVANCE) as usize);
    let longest = lines.iter().max_by_key(|l| l.chars().count()).map_or("", |l| l);
    let scale = text::scale_to_fit(size, longest).min(3);
    let height = text::LINE * scale;
    let top = (size.height / 2).saturating_sub(height * lines.len() as u32 / 2);
    for (i, line) in lines.iter().enumerate() {
        text::draw_centred(planes.y, size, scale, top + height * i as u32, line);
    }
}

/// Breaks a sentence into lines of at most `width` letters, at spaces if possible.
fn wrap(sentence: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = vec![];
    for word in sentence.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::frame::Size;

    #[test]
    fn sentences_wrap_at_spaces() {
        assert_eq!(wrap("camera unplugged: waiting", 10), ["camera", "unplugged:", "waiting"]);
        assert_eq!(wrap("a b c", 80), ["a b c"]);
        assert!(wrap("", 10).is_empty());
    }

    #[test]
    fn any_reason_fits_any_picture() {
        for size in [Size::new(640, 360), Size::new(16, 16), Size::new(160, 120), Size::new(1920, 1080)] {
            let mut picture = I420::new(size);
            draw(&mut picture, &"no permission to open /dev/video0 (add the user to group video) ".repeat(9));
            draw(&mut picture, "camera unplugged");
            assert!(picture.planes().0.iter().any(|y| *y > 200) || size.width < 100);
        }
    }
}
