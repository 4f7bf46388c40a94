namespace Kvm.Sched.Simulation;

/// <summary>
/// The measure that shares are compared with: CPUs as a liquid, divided among all vCPUs that are there and not halted by the weight of
/// their VM over its vCPUs, none more than one CPU. vCPUs of equal weight have one account between them, so that a change costs as
/// much as there are different weights.
/// </summary>
internal sealed class FairSharing(int cpus)
{
    private const int MostAccounts = 256;

    private readonly Dictionary<double, int> _known = [];
    private readonly List<Account> _accounts = [];
    private readonly List<int> _heaviest = [];
    private long _last;
    private bool _changed;

    /// <summary>The account of a weight.</summary>
    public int AccountOf(double weight)
    {
        if (_known.TryGetValue(weight, out int account))
            return account;
        // More weights than accounts: the nearest one serves.
        if (_accounts.Count == MostAccounts)
            return _known[_known.Keys.MinBy(known => Math.Abs(known - weight))];
        account = _accounts.Count;
        _accounts.Add(new Account { Weight = weight });
        _known.Add(weight, account);
        _heaviest.Add(account);
        _heaviest.Sort((a, b) => _accounts[b].Weight.CompareTo(_accounts[a].Weight));
        return account;
    }

    /// <summary>A vCPU of the account comes (1) or goes (−1).</summary>
    /// <returns>What each vCPU of the account was given so far, in ns.</returns>
    public double Change(int account, int by, long now)
    {
        Advance(now);
        var changed = _accounts[account];
        changed.Active += by;
        _changed = true;
        return changed.Given;
    }

    private void Advance(long now)
    {
        if (now == _last)
            return;
        if (_changed)
            Divide();
        foreach (var account in _accounts)
            account.Given += account.Rate * (now - _last);
        _last = now;
    }

    private void Divide()
    {
        _changed = false;
        double left = cpus, weights = 0;
        foreach (var account in _accounts)
            weights += account.Weight * account.Active;
        // Who is worth more than a CPU gets one, and the others divide the rest.
        foreach (int index in _heaviest)
        {
            var account = _accounts[index];
            if (account.Active == 0)
            {
                account.Rate = 0;
                continue;
            }

            account.Rate = weights > 0 ? Math.Max(0, Math.Min(1, account.Weight * left / weights)) : 1;
            if (account.Rate < 1)
                continue;
            left -= account.Active;
            weights -= account.Weight * account.Active;
        }
    }

    private sealed class Account
    {
        public double Weight;
        public int Active;
        public double Rate;
        public double Given;
    }
}
