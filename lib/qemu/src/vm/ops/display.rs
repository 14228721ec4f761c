//! Passwords of displays that people connect to, while the machine runs.

use super::OperationError;
use crate::Vm;
use qmp::commands::{
    ChangeVncPassword, ExpirePassword, ExpirePasswordVariant, ExpirePasswordVnc, SetPassword,
    SetPasswordConnected, SetPasswordVariant, SetPasswordVnc,
};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A display with a password of its own ([`crate::config::Password::Later`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Screen {
    /// VNC.
    Vnc,
    /// SPICE.
    Spice,
}

/// What becomes of those who are connected when a password changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Connected {
    /// They stay.
    #[default]
    Stay,
    /// They are cut off; SPICE only.
    Leave,
    /// The password is not changed while there are any; SPICE only.
    Forbid,
}

/// Until when a password lets people in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// Not any more.
    Now,
    /// Always.
    Never,
    /// So long from now, in whole seconds of QEMU's clock.
    In(Duration),
    /// Until this time of the calendar.
    At(SystemTime),
}

impl Expiry {
    /// As `expire_password` takes it (QEMU's documentation of the command, 7.2 and 10.0).
    fn text(self) -> String {
        match self {
            Self::Now => "now".to_owned(),
            Self::Never => "never".to_owned(),
            Self::In(time) => format!("+{}", time.as_secs()),
            // One from before the epoch has passed.
            Self::At(time) => time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().to_string(),
        }
    }
}

impl Vm {
    /// Sets the password of a display. VNC takes eight bytes of it, and looks at no more.
    ///
    /// # Errors
    /// [`OperationError`]; refused where the display is not there, or was started without passwords.
    pub async fn set_display_password(
        &self,
        screen: Screen,
        password: &str,
        connected: Connected,
    ) -> Result<(), OperationError> {
        let protocol = match screen {
            Screen::Vnc => SetPasswordVariant::Vnc(SetPasswordVnc::default()),
            Screen::Spice => SetPasswordVariant::Spice,
        };
        let connected = Some(match connected {
            Connected::Stay => SetPasswordConnected::Keep,
            Connected::Leave => SetPasswordConnected::Disconnect,
            Connected::Forbid => SetPasswordConnected::Fail,
        });
        let command = SetPassword { connected, ..SetPassword::new(password, protocol) };
        self.tell("set the password of a display", &command).await.map(drop)
    }

    /// Says until when the password of a display lets people in; those who are in stay.
    ///
    /// # Errors
    /// [`OperationError`].
    pub async fn expire_display_password(&self, screen: Screen, when: Expiry) -> Result<(), OperationError> {
        let protocol = match screen {
            Screen::Vnc => ExpirePasswordVariant::Vnc(ExpirePasswordVnc::default()),
            Screen::Spice => ExpirePasswordVariant::Spice,
        };
        let command = ExpirePassword { time: when.text(), protocol };
        self.tell("limit the password of a display", &command).await.map(drop)
    }

    /// Sets the password of the VNC display by the older command, which also takes an empty one.
    ///
    /// # Errors
    /// [`OperationError`], as of [`Vm::set_display_password`].
    pub async fn change_vnc_password(&self, password: &str) -> Result<(), OperationError> {
        let command = ChangeVncPassword { password: password.to_owned() };
        self.tell("change the password of the VNC display", &command).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_said_as_qemu_takes_it() {
        let day = Duration::from_secs(86_400);
        for (when, text) in [
            (Expiry::Now, "now"),
            (Expiry::Never, "never"),
            (Expiry::In(day), "+86400"),
            (Expiry::At(UNIX_EPOCH + day), "86400"),
            (Expiry::At(UNIX_EPOCH - day), "0"),
        ] {
            assert_eq!(when.text(), text);
        }
    }
}
