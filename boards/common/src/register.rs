//! Registers of peripherals.
#![expect(unsafe_code, reason = "registers are fixed addresses")]

/// One register of the width of `T`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Register<T>(*mut T);

// SAFETY: it is an address, which means the same on whichever side of an interrupt it is used.
unsafe impl<T> Send for Register<T> {}

impl<T: Copy> Register<T> {
    /// The register at `address`.
    ///
    /// # Safety
    /// A peripheral must have a register of that width there, which the caller may use.
    pub(crate) const unsafe fn at(address: usize) -> Self {
        Self(address as *mut T)
    }

    pub(crate) fn read(self) -> T {
        // SAFETY: whoever made the value vouched for the address.
        unsafe { self.0.read_volatile() }
    }

    pub(crate) fn write(self, value: T) {
        // SAFETY: whoever made the value vouched for the address.
        unsafe { self.0.write_volatile(value) }
    }
}
