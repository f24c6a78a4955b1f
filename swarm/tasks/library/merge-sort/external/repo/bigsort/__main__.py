from bigsort.cli import main

raise SystemExit(main())
