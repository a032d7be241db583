hosts before=resolve,dns mymachines
passwd after=files mymachines
group after=files mymachines
