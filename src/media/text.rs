//! Draws text into a picture: white letters on the existing background.

use embedded_graphics::Pixel;
use embedded_graphics::draw_target::DrawTarget;
use embedded_graphics::geometry::{OriginDimensions, Point, Size as Area};
use embedded_graphics::mono_font::MonoTextStyle;
use embedded_graphics::mono_font::ascii::FONT_10X20;
use embedded_graphics::pixelcolor::BinaryColor;
use embedded_graphics::text::{Alignment, Baseline, Text, TextStyleBuilder};

use super::frame::Size;

/// Height of a line at scale 1, in pixels.
pub const LINE: u32 = 20;
/// Width of a letter at scale 1, in pixels.
pub const ADVANCE: u32 = 10;
const WHITE: u8 = 235;

/// A luma plane without padding, drawn in blocks of `scale` by `scale` pixels.
struct Canvas<'a> {
    luma: &'a mut [u8],
    size: Size,
    scale: u32,
}

impl OriginDimensions for Canvas<'_> {
    fn size(&self) -> Area {
        Area::new(self.size.width / self.scale, self.size.height / self.scale)
    }
}

impl DrawTarget for Canvas<'_> {
    type Color = BinaryColor;
    type Error = std::convert::Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<BinaryColor>>>(
        &mut self,
        pixels: I,
    ) -> Result<(), Self::Error> {
        let area = OriginDimensions::size(self);
        for Pixel(p, color) in pixels {
            let (Ok(x), Ok(y)) = (u32::try_from(p.x), u32::try_from(p.y)) else { continue };
            if color == BinaryColor::On && x < area.width && y < area.height {
                for row in y * self.scale..(y + 1) * self.scale {
                    let start = (row * self.size.width + x * self.scale) as usize;
                    self.luma[start..start + self.scale as usize].fill(WHITE);
                }
            }
        }
        Ok(())
    }
}

/// Draws one line of text, centred in the picture, with its top at row `y`. Text that does not fit is cut
/// off; a character outside ASCII becomes "?".
pub fn draw_centred(luma: &mut [u8], size: Size, scale: u32, y: u32, text: &str) {
    let scale = scale.max(1);
    let mut canvas = Canvas { luma, size, scale };
    let at = Point::new((size.width / scale / 2) as i32, (y / scale) as i32);
    let style = MonoTextStyle::new(&FONT_10X20, BinaryColor::On);
    let placed = TextStyleBuilder::new().alignment(Alignment::Center).baseline(Baseline::Top).build();
    let Ok(_) =
        embedded_graphics::Drawable::draw(&Text::with_text_style(text, at, style, placed), &mut canvas);
}

/// The largest scale at which `text` takes at most nine tenths of the picture's width; at least 1.
pub fn scale_to_fit(size: Size, text: &str) -> u32 {
    (size.width * 9 / 10 / (ADVANCE * text.chars().count().max(1) as u32)).clamp(1, size.height / 120 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_leaves_ink_where_it_belongs_and_nowhere_else() {
        let size = Size::new(320, 180);
        let mut luma = vec![16; size.area() as usize];
        draw_centred(&mut luma, size, 2, 60, "camera gone");
        let ink = |rows: std::ops::Range<usize>| luma[rows.start * 320..rows.end * 320].contains(&WHITE);
        assert!(ink(60..100));
        assert!(!ink(0..60) && !ink(100..180));
    }

    #[test]
    fn what_does_not_fit_is_cut() {
        let size = Size::new(34, 18);
        let mut luma = vec![16; size.area() as usize];
        draw_centred(&mut luma, size, 3, 10, "a long sentence — longer than the picture");
        draw_centred(&mut luma, size, 1, 400, "below");
        assert_eq!(scale_to_fit(size, "a long sentence"), 1);
    }
}
