//! Where does a head end?
