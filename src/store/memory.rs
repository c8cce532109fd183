//! A store within one process: what the simulation and the tests share.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::ready;
use std::pin::Pin;
use std::rc::Rc;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::backend::{Answer, Backend, Reading, Swap};

/// Entries of as many refreshers as run on this thread.
#[derive(Debug)]
pub struct Memory {
    begun: Instant,
    entries: RefCell<HashMap<String, (Vec<u8>, Instant)>>,
    news: RefCell<HashMap<String, Rc<Notify>>>,
}

impl Memory {
    /// Without an entry.
    #[expect(clippy::new_without_default, reason = "it begins at a moment")]
    pub fn new() -> Self {
        Self {
            begun: Instant::now(),
            entries: RefCell::default(),
            news: RefCell::default(),
        }
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        let entries = self.entries.borrow();
        let kept = entries.get(name).filter(|(_, end)| *end > Instant::now());
        kept.map_or_else(Vec::new, |(bytes, _)| bytes.clone())
    }

    fn bell(&self, name: &str) -> Rc<Notify> {
        let mut news = self.news.borrow_mut();
        Rc::clone(news.entry(name.to_owned()).or_default())
    }
}

impl Backend for Memory {
    fn read<'a>(&'a self, name: &'a str) -> Answer<'a, Reading> {
        Box::pin(ready(Ok(Reading {
            bytes: self.bytes(name),
            now: self.begun.elapsed(),
        })))
    }

    fn swap<'a>(&'a self, name: &'a str, swap: Swap<'a>) -> Answer<'a, bool> {
        if self.bytes(name) != swap.old {
            return Box::pin(ready(Ok(false)));
        }
        let kept = (swap.new.to_vec(), Instant::now() + swap.keep_for);
        self.entries.borrow_mut().insert(name.to_owned(), kept);
        if swap.is_news {
            self.bell(name).notify_waiters();
        }
        Box::pin(ready(Ok(true)))
    }

    fn news<'a>(&'a self, name: &'a str) -> Pin<Box<dyn Future<Output = ()> + 'a>> {
        let bell = self.bell(name);
        Box::pin(async move { bell.notified().await })
    }

    fn brings_news(&self) -> bool {
        true
    }
}
