//! A graphics card of QEMU's, of whose screen its monitor takes pictures.

use crate::KINDS;
use crate::machine::{Device, Machine, Queue};
use serde_json::json;
use virtio::Segment;
use virtio::gpu::{Area, CONTROL, CURSOR, Command, Commands, Ended, Format, Refused};

const WIDTH: u32 = 96;
const HEIGHT: u32 = 64;
const WHOLE: Area = Area { x: 0, y: 0, width: WIDTH, height: HEIGHT };
const SIZE: u16 = 16;

struct Card {
    device: Device,
    queues: [(Queue, Commands); 2],
}

impl Card {
    fn on(&mut self, queue: u16, command: &Command) -> Ended {
        let Self { device, queues } = self;
        let (queue, commands) = &mut queues[usize::from(queue)];
        commands.send(&mut queue.ring, command, 5).unwrap();
        let ended = device.wait(queue, |ring| commands.reap(ring).unwrap());
        assert_eq!(ended.tag, 5);
        ended
    }

    fn command(&mut self, command: &Command) -> Result<(), Refused> {
        self.on(CONTROL, command).result
    }
}

/// A pixel: blue, green, red.
fn color(x: u32, y: u32, seed: u32) -> [u8; 3] {
    [(x * 2 + seed) as u8, (y * 3) as u8, (x ^ y ^ seed) as u8]
}

/// The pixels of a picture as `screendump` writes it: `P6`, width, height and 255 as text, then red, green and blue of each.
fn pixels(picture: &[u8]) -> &[u8] {
    let head = format!("P6\n{WIDTH} {HEIGHT}\n255\n");
    picture.strip_prefix(head.as_bytes()).unwrap_or_else(|| panic!("{:?}", &picture[..20]))
}

#[test]
fn what_is_drawn_is_on_the_screen() {
    let test = "what_is_drawn_is_on_the_screen";
    let directory = tempfile::tempdir().unwrap();
    for (kind, features) in KINDS {
        let device = format!("virtio-gpu-pci,{kind},DEVICE");
        let Some(machine) = Machine::start(test, directory.path(), &["-device", &device]) else { return };
        let mut device = Device::take(machine, features, features);
        let queues = [CONTROL, CURSOR].map(|index| device.queue(index, SIZE));
        device.start();
        let queues = queues.map(|queue| {
            let (memory, address) = device.machine.part(Commands::bytes(SIZE));
            (queue, Commands::new(SIZE, memory, address).unwrap())
        });
        let mut card = Card { device, queues };
        let screens = card.on(CONTROL, &Command::Screens).screens;
        assert!(screens[0].enabled && screens[0].area.width >= 640 && !screens[1].enabled, "{screens:?}");

        let create = Command::Create { picture: 1, format: Format::Bgrx, width: WIDTH, height: HEIGHT };
        assert_eq!(card.command(&create), Ok(()));
        assert!(card.command(&create).is_err(), "there is one of this number");
        // Its memory lies in two places.
        let half = (WIDTH * HEIGHT * 2) as usize;
        let parts = [(); 2].map(|()| card.device.machine.part(half));
        let pieces = parts.each_ref().map(|(_, address)| Segment { address: *address, length: half as u32 });
        assert_eq!(card.command(&Command::Attach(1, pieces.to_vec())), Ok(()));
        assert_eq!(card.command(&Command::Show { screen: 0, picture: 1, area: WHOLE }), Ok(()));
        for seed in [0, 77] {
            let all: Vec<u8> = (0..HEIGHT)
                .flat_map(|y| (0..WIDTH).map(move |x| color(x, y, seed)))
                .flat_map(|[blue, green, red]| [blue, green, red, 0])
                .collect();
            for ((part, _), bytes) in parts.iter().zip(all.chunks(half)) {
                part.slice().write(bytes);
            }
            assert_eq!(card.command(&Command::Transfer { picture: 1, area: WHOLE, offset: 0 }), Ok(()));
            assert_eq!(card.command(&Command::Flush { picture: 1, area: WHOLE }), Ok(()));
            let file = directory.path().join("screen.ppm");
            card.device.machine.execute("screendump", json!({ "filename": file }));
            let expected: Vec<u8> = all.chunks(4).flat_map(|pixel| [pixel[2], pixel[1], pixel[0]]).collect();
            assert!(pixels(&std::fs::read(&file).unwrap()) == expected, "seed {seed}");
        }
        // A part of it alone: the rest stays as it was shown.
        let area = Area { x: 10, y: 40, width: 20, height: 10 };
        parts[0].0.slice().fill(0);
        parts[1].0.slice().fill(0);
        let offset = u64::from((area.y * WIDTH + area.x) * 4);
        assert_eq!(card.command(&Command::Transfer { picture: 1, area, offset }), Ok(()));
        assert_eq!(card.command(&Command::Flush { picture: 1, area }), Ok(()));
        let file = directory.path().join("screen.ppm");
        card.device.machine.execute("screendump", json!({ "filename": file }));
        let shown = std::fs::read(&file).unwrap();
        for (at, pixel) in (0..).zip(pixels(&shown).chunks(3)) {
            let (x, y) = (at % WIDTH, at / WIDTH);
            let inside =
                (area.x..area.x + area.width).contains(&x) && (area.y..area.y + area.height).contains(&y);
            let [blue, green, red] = if inside { [0; 3] } else { color(x, y, 77) };
            assert_eq!(pixel, [red, green, blue], "{x}, {y}");
        }

        // What cannot be is said.
        let beyond = Area { width: WIDTH + 1, ..WHOLE };
        assert_eq!(
            card.command(&Command::Transfer { picture: 1, area: beyond, offset: 0 }),
            Err(Refused::Parameter)
        );
        assert_eq!(
            card.command(&Command::Show { screen: 99, picture: 1, area: WHOLE }),
            Err(Refused::Screen)
        );
        assert_eq!(card.command(&Command::Flush { picture: 2, area: WHOLE }), Err(Refused::Picture));

        // The pointer has commands of its own.
        let create = Command::Create { picture: 2, format: Format::Bgra, width: 64, height: 64 };
        assert_eq!(card.command(&create), Ok(()));
        card.on(CURSOR, &Command::Pointer { screen: 0, at: (3, 4), picture: 2, tip: (0, 0) });
        card.on(CURSOR, &Command::Move { screen: 0, at: (5, 6) });

        assert_eq!(card.command(&Command::Show { screen: 0, picture: 0, area: Area::default() }), Ok(()));
        assert_eq!(card.command(&Command::Detach(1)), Ok(()));
        assert_eq!(card.command(&Command::Destroy(1)), Ok(()));
        assert_eq!(card.command(&Command::Flush { picture: 1, area: WHOLE }), Err(Refused::Picture));
    }
}
