//! What calibrations left on a board.

use lowbit_runtime::calibration::{Header, PAYLOAD_OFFSET, Record, RecordError};
use lowbit_runtime::protocol::{CalibrationReply, CalibrationRequest};

use super::line::Work;
use super::{Client, Error};

/// A place for records on a board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordPlace {
    /// The whole record, or why there is none that may be used.
    pub record: Result<StoredRecord, RecordError>,
    /// Whether the board uses it.
    pub in_use: bool,
}

/// A record as it lies on a board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// What it says about itself.
    pub header: Header,
    /// All its bytes, header included.
    pub bytes: Vec<u8>,
}

impl Client {
    /// The places for records behind the board's model. Records are read and checked completely.
    ///
    /// # Errors
    /// If the board cannot calibrate its model or does not answer.
    pub fn records(&mut self) -> Result<Vec<RecordPlace>, Error> {
        let model = self.greeting().model;
        let identity = model.map_or([0; 32], |model| model.identity);
        let in_use = model.and_then(|model| model.record);
        let mut places = Vec::new();
        loop {
            let place = places.len() as u8;
            let (count, first) = self.read_place(place, 0)?;
            let record = self.read_record(place, first, &identity)?;
            places.push(RecordPlace {
                in_use: record
                    .as_ref()
                    .is_ok_and(|record| Some(record.header.generation) == in_use),
                record,
            });
            if places.len() >= count.into() {
                return Ok(places);
            }
        }
    }

    /// The record in use, `None` if it is the factory's parameters.
    ///
    /// # Errors
    /// If the board does not answer, or says that it uses a record that is not there.
    pub fn record(&mut self) -> Result<Option<StoredRecord>, Error> {
        let in_use = self.greeting().model.and_then(|model| model.record);
        let Some(generation) = in_use else {
            return Ok(None);
        };
        let found = self.records()?.into_iter().find(|place| place.in_use);
        let record = found.and_then(|place| place.record.ok());
        record.map(Some).ok_or(Error::RecordGone { generation })
    }

    /// Takes the record in use back; returns the generation of the one before it, `None` for the
    /// factory's parameters.
    ///
    /// # Errors
    /// If there is none or the board does not answer.
    pub fn roll_back(&mut self) -> Result<Option<u32>, Error> {
        self.ask_for_parameters("the rollback", CalibrationRequest::Rollback)
    }

    /// Erases all records of the board's model, whose parameters are those of the factory again.
    ///
    /// # Errors
    /// If the board cannot calibrate its model or does not answer.
    pub fn reset_calibration(&mut self) -> Result<(), Error> {
        self.ask_for_parameters("the reset", CalibrationRequest::Reset)?;
        Ok(())
    }

    fn ask_for_parameters(
        &mut self,
        name: &'static str,
        request: CalibrationRequest,
    ) -> Result<Option<u32>, Error> {
        let record = self.ask_calibration(name, request, Work::Long, |reply| match reply {
            CalibrationReply::InUse { record } => Some(record),
            _ => None,
        })?;
        self.note_record(record);
        Ok(record)
    }

    /// The number of places, and the bytes of one from `offset` on, as many as fit a message.
    fn read_place(&mut self, place: u8, offset: usize) -> Result<(u8, Vec<u8>), Error> {
        let offset = offset as u32;
        let request = CalibrationRequest::RecordPlace { place, offset };
        self.ask_calibration("a record", request, Work::Short, |reply| match reply {
            CalibrationReply::RecordPlace { places, data } => Some((places, data.to_vec())),
            _ => None,
        })
    }

    /// The bytes of a place up to `length`, of which the first are `bytes`, or up to its end.
    pub(super) fn read_record_bytes(
        &mut self,
        place: u8,
        mut bytes: Vec<u8>,
        length: usize,
    ) -> Result<Vec<u8>, Error> {
        while bytes.len() < length {
            let (_, more) = self.read_place(place, bytes.len())?;
            if more.is_empty() {
                break;
            }
            bytes.extend(more);
        }
        bytes.truncate(length);
        Ok(bytes)
    }

    fn read_record(
        &mut self,
        place: u8,
        first: Vec<u8>,
        identity: &[u8; 32],
    ) -> Result<Result<StoredRecord, RecordError>, Error> {
        let header = match Header::parse(&first) {
            Ok(header) => header,
            Err(error) => return Ok(Err(error)),
        };
        let length = PAYLOAD_OFFSET.saturating_add(header.payload_length as usize);
        let bytes = self.read_record_bytes(place, first, length)?;
        let checked = Record::new_checked(&bytes, identity, header.plan).map(|_| ());
        Ok(checked.map(|()| StoredRecord { header, bytes }))
    }
}
