package doctor_test

// serverFaults are those that need a server.
var serverFaults []fault
