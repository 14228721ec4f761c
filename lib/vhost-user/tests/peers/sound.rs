//! A sound device of the project vhost-device, which hears everything and has no loudspeaker.

use crate::vhost_device::{KINDS, program};
use crate::{Client, Peer, SIZE, observed};
use std::process::Command as Program;
use virtio::Segment;
use virtio::sound::{
    CONTROL, Command, Commands, Config, Direction, Ended, Parameters, Refused, Samples, TRANSMIT,
};

const PERIOD: u32 = 4096;
const S16: u8 = 5;
const RATE_48000: u8 = 7;

struct Device {
    client: Client,
    commands: Commands,
    samples: Samples,
}

impl Device {
    fn command(&mut self, command: &Command) -> Ended {
        let Self { client, commands, .. } = self;
        let ring = &mut client.queues[usize::from(CONTROL)].ring;
        commands.send(ring, command, 9).unwrap();
        let ended = client.wait(CONTROL.into(), |queue| commands.reap(&mut queue.ring).unwrap());
        assert_eq!(ended.tag, 9);
        ended
    }

    fn does(&mut self, command: Command) -> Result<(), Refused> {
        self.command(&command).result
    }
}

#[test]
fn a_stream_is_set_up_heard_and_released() {
    let test = "a_stream_is_set_up_heard_and_released";
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("sound.sock");
    let mut command = Program::new(program("vhost-device-sound"));
    let command = command.arg("--socket").arg(&socket).args(["--backend", "null"]);
    let Some(mut peer) = Peer::start(test, command) else { return };
    for features in KINDS {
        observed::device("sound", "vhost-device-sound");
        let mut client = Client::new(peer.connect(&socket), "vhost-device-sound", features, 4);
        let config = Config::parse(&client.front.config(0, Config::BYTES as u32).unwrap());
        assert!(config.streams >= 1, "{config:?}");
        let mut part = |bytes| {
            let part = client.part(bytes);
            let address = part.host_address();
            (part, address)
        };
        let [(slots, at), (others, there)] = [part(Commands::bytes(SIZE)), part(Samples::bytes(SIZE))];
        let (sound, first) = part(PERIOD as usize * 8);
        sound.slice().fill(3);
        let commands = Commands::new(SIZE, slots, at).unwrap();
        let samples = Samples::new(SIZE, others, there).unwrap();
        let mut device = Device { client, commands, samples };

        let Ended { result, streams, .. } =
            device.command(&Command::Streams { first: 0, count: config.streams });
        assert_eq!((result, streams.len()), (Ok(()), config.streams as usize));
        let output = streams.iter().position(|stream| stream.direction == Direction::Output).unwrap();
        let stream = streams[output];
        assert!(stream.formats & 1 << S16 != 0 && stream.rates & 1 << RATE_48000 != 0, "{stream:?}");
        assert!((stream.channels.0..=stream.channels.1).contains(&2), "{stream:?}");
        let number = output as u32;
        // None of these is there.
        assert!(device.does(Command::Prepare(config.streams)).is_err());

        let parameters = Parameters {
            buffer_bytes: 8 * PERIOD,
            period_bytes: PERIOD,
            channels: 2,
            format: S16,
            rate: RATE_48000,
        };
        assert_eq!(device.does(Command::Set(number, parameters)), Ok(()));
        assert_eq!(device.does(Command::Prepare(number)), Ok(()));
        assert_eq!(device.does(Command::Start(number)), Ok(()));
        for round in 0..4 {
            let Device { client, samples, .. } = &mut device;
            for period in 0..8_u64 {
                let ring = &mut client.queues[usize::from(TRANSMIT)].ring;
                let segment = Segment { address: first + period * u64::from(PERIOD), length: PERIOD };
                samples.send(ring, number, &[segment], round * 8 + period).unwrap();
            }
            for _ in 0..8 {
                let heard = client.wait(TRANSMIT.into(), |queue| samples.reap(&mut queue.ring).unwrap());
                assert_eq!(heard.result, Ok(()), "{heard:?}");
                assert!((round * 8..round * 8 + 8).contains(&heard.tag));
            }
        }
        assert_eq!(device.does(Command::Stop(number)), Ok(()));
        assert_eq!(device.does(Command::Release(number)), Ok(()));
        drop(device);
    }
}
